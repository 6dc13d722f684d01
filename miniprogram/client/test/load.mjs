// The built file, as an app loads it: a fresh copy for each life, whose timers are those of the phone.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const BUILT = process.env.CLIENT_FILE ?? path.join(path.dirname(fileURLToPath(import.meta.url)), '../wx-gateway.js');

const source = fs.readFileSync(BUILT, 'utf8');
/** The ES module is read too, for tests that change a line of it. */
const code = source.replace(/^export \{([^}]*)\};?\s*$/m, (_, names) => {
  const pairs = names.split(',').map((each) => each.trim().split(' as '));
  return pairs.map(([from, to]) => `exports.${to ?? from} = ${from};`).join('\n');
});
const names = ['module', 'exports', 'wx', 'setTimeout', 'clearTimeout', 'Math', 'globalThis', 'window', 'global', 'process', 'WebSocket', 'XMLHttpRequest', 'fetch', 'document', 'navigator', 'localStorage', 'TextEncoder', 'URL'];
const factory = new Function(...names, code);

/** What `require('wx-gateway')` gives in this life of an app: there is nothing of Node's or of a browser's. */
export function load(life) {
  const module = { exports: {} };
  const math = Object.create(Math, { random: { value: life.phone.random } });
  factory(module, module.exports, life.wx, life.setTimeout, life.clearTimeout, math);
  return module.exports;
}
