// The built file, as an app loads it: a fresh copy for each life, whose timers are those of the phone.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const BUILT = process.env.CLIENT_FILE ?? path.join(path.dirname(fileURLToPath(import.meta.url)), '../wx-gateway.js');

const code = fs.readFileSync(BUILT, 'utf8');
const names = ['module', 'exports', 'wx', 'setTimeout', 'clearTimeout', 'globalThis', 'window', 'global', 'process', 'WebSocket', 'XMLHttpRequest', 'fetch', 'document', 'navigator', 'localStorage', 'TextEncoder', 'URL'];
const factory = new Function(...names, code);

/** What `require('wx-gateway')` gives in this life of an app: there is nothing of Node's or of a browser's. */
export function load(life) {
  const module = { exports: {} };
  factory(module, module.exports, life.wx, life.setTimeout, life.clearTimeout);
  return module.exports;
}
