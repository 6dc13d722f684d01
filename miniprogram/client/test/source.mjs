// A file of the source, for tests of one part alone.

import path from 'node:path';
import { fileURLToPath } from 'node:url';
import esbuild from 'esbuild';

const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), '../src');

export async function source(name) {
  const result = await esbuild.build({
    entryPoints: [path.join(folder, name)],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    logLevel: 'error',
  });
  return import(`data:text/javascript;base64,${Buffer.from(result.outputFiles[0].text).toString('base64')}`);
}
