// A row of a table that opens something: with a click anywhere on it, with the keyboard by the button in it.

/** For `onClick` of a row. Text that was just marked in it, to be copied, is no click. */
export function rowClick(open: () => void): (event: MouseEvent) => void {
  return (event) => {
    const row = event.currentTarget as HTMLElement;
    const button = (event.target as Element).closest('button');
    const marked = getSelection();
    if (!button && marked?.type === 'Range' && marked.containsNode(row, true)) return;
    open();
  };
}
