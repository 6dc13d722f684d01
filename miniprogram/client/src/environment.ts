/**
 * What the bundle sees as `globalThis`: old base libraries have none, and nothing of a browser's own is wanted
 * (the phone's events come from `wx`).
 */
export const environment = { Promise, console: typeof console === 'undefined' ? undefined : console };
