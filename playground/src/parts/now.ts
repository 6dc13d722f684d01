// The time that goes on while somebody looks: whoever draws it is drawn again each second.

import { signal } from '@preact/signals';

/** Unix milliseconds. */
export const now = signal(Date.now());

setInterval(() => (now.value = Date.now()), 1000);
