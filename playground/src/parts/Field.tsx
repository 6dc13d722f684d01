// A control with its name above it.

import type { ComponentChildren } from 'preact';

export function Field({ label, grow = false, children }: { label: string; grow?: boolean; children: ComponentChildren }) {
  return (
    <label class={grow ? 'field grow' : 'field'}>
      <span>{label}</span>
      {children}
    </label>
  );
}
