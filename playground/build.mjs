// Builds the page into one folder: `node build.mjs [FOLDER]`, by default where the Python package has it.
// The same sources give the same bytes, which a test holds the committed files against.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = path.dirname(fileURLToPath(import.meta.url));
const out = path.resolve(process.argv[2] ?? path.join(here, '../gateway/http/static'));
const modules = path.join(here, 'node_modules');
const library = path.join(here, '../miniprogram/client');
const BUNDLED = ['preact', '@preact/signals', '@preact/signals-core', 'uplot'];

await mkdir(out, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: { app: 'src/main.tsx' },
  outdir: out,
  bundle: true,
  minify: true,
  format: 'esm',
  target: ['chrome100', 'safari15.4', 'firefox100'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  // The very file that a mini-program copies; it brings no packages of its own.
  alias: { 'wx-gateway-client': path.join(library, 'wx-gateway.mjs') },
  tsconfigRaw: {},
  legalComments: 'none',
  charset: 'utf8',
  logLevel: 'warning',
});

const index = await readFile(path.join(here, 'src/index.html'), 'utf8');
await writeFile(path.join(out, 'index.html'), index);

const licenses = await Promise.all(
  BUNDLED.map(async (name) => {
    const { version, license } = JSON.parse(await readFile(path.join(modules, name, 'package.json'), 'utf8'));
    const text = await readFile(path.join(modules, name, 'LICENSE'), 'utf8');
    return `${name} ${version} (${license})\n\n${text.trim()}\n`;
  }),
);
licenses.push(await readFile(path.join(library, 'THIRD-PARTY.txt'), 'utf8'));
const line = `\n${'-'.repeat(78)}\n\n`;
await writeFile(path.join(out, 'licenses.txt'), `The page contains these packages.\n\n${licenses.join(line)}`);
