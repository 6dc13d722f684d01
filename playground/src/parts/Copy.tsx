// Copies the text of an element.

import { useSignal } from '@preact/signals';
import { word } from '../words';

export function Copy({ of }: { of: string }) {
  const copied = useSignal(false);
  const copy = async (): Promise<void> => {
    const element = document.getElementById(of);
    if (!element) return;
    try {
      await navigator.clipboard.writeText(element.textContent ?? '');
    } catch {
      // Only over https or on localhost; else the text is at least selected.
      getSelection()?.selectAllChildren(element);
      return;
    }
    copied.value = true;
    setTimeout(() => (copied.value = false), 1500);
  };
  return <button type="button" class="quiet" onClick={() => void copy()}>{word(copied.value ? 'copied' : 'copy')}</button>;
}
