// Light, dark, or as the system has it.

import { effect, signal } from '@preact/signals';
import { read, write } from './storage';

export type Theme = 'auto' | 'light' | 'dark';

const ORDER: Theme[] = ['auto', 'light', 'dark'];
const remembered = read('theme') as Theme | null;
export const theme = signal<Theme>(remembered && ORDER.includes(remembered) ? remembered : 'auto');

const system = matchMedia('(prefers-color-scheme: dark)');
/** What is drawn; canvases follow it, everything else follows the style sheet. */
export const dark = signal(false);

function apply(): void {
  dark.value = theme.value === 'dark' || (theme.value === 'auto' && system.matches);
  document.documentElement.dataset.theme = dark.value ? 'dark' : 'light';
}

effect(apply);
system.addEventListener('change', apply);

export function nextTheme(): void {
  theme.value = ORDER[(ORDER.indexOf(theme.value) + 1) % ORDER.length]!;
  write('theme', theme.value);
}
