// Builds what users take: one file for mini-programs (CommonJS, ES5), one for bundlers and browsers (ES module), types.
//   node scripts/build.mjs [FOLDER]        default: this package

import { mkdirSync, readFileSync, writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import esbuild from 'esbuild';
import ts from 'typescript';

const here = join(dirname(fileURLToPath(import.meta.url)), '..');
const { version } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'));
const banner = `/*! wx-gateway-client ${version}, with centrifuge and events in it: MIT, see THIRD-PARTY.txt */`;

/** centrifuge can speak over five transports; a phone has one, and no room for the others. */
const oneTransport = {
  name: 'one transport',
  setup(build) {
    build.onLoad({ filter: /centrifuge\/build\/index\.mjs$/ }, ({ path }) => {
      const text = readFileSync(path, 'utf8');
      const others = /(_createTransport\([^]*?)            case 'webtransport':[^]*?(            default:\n\s+throw new Error\('unknown transport)/;
      if (!others.test(text)) throw new Error('centrifuge has changed: the other transports are not where they were');
      return { contents: text.replace(others, '$1$2'), loader: 'js' };
    });
  },
};

/** Everything in one text, with nothing of a browser's in it. */
async function bundle(format) {
  const result = await esbuild.build({
    absWorkingDir: here,
    entryPoints: ['src/index.ts'],
    bundle: true,
    write: false,
    format,
    target: 'es2017',
    legalComments: 'none',
    charset: 'utf8',
    define: { globalThis: 'environment' },
    inject: ['src/environment.ts'],
    plugins: [oneTransport],
  });
  return result.outputFiles[0].text;
}

/** What old base libraries and old phones read. */
function toES5(code) {
  return ts.transpileModule(code, {
    compilerOptions: { target: ts.ScriptTarget.ES5, module: ts.ModuleKind.None, downlevelIteration: true, removeComments: true },
  }).outputText;
}

async function minified(code) {
  return (await esbuild.transform(code, { minify: true, mangleProps: /^_[a-z]/, target: 'es5', charset: 'utf8', legalComments: 'none' })).code;
}

/** The types of the public interface in one file: what index.ts exports. */
function types() {
  const folder = mkdtempSync(join(here, '.types-'));
  try {
    const tsc = join(here, 'node_modules/typescript/bin/tsc');
    execFileSync(process.execPath, [tsc, '-p', here, '--noEmit', 'false', '--declaration', '--emitDeclarationOnly', '--outDir', folder]);
    const parts = ['api', 'errors', 'index'].map((name) => readFileSync(join(folder, `${name}.d.ts`), 'utf8'));
    return parts
      .join('\n')
      .replace(/^import .*;\n/gm, '')
      .replace(/^export \* from .*;\n/gm, '')
      .replace(/^export \{ GatewayError, LocalCode \};\n/gm, '')
      .replace(/^\/\*\* (Any failure as one of ours|Errors that say).*\n/gm, '')
      .replace(/^export declare function (asError|timeout|lost)\(.*\n/gm, '')
      .replace(/\n{2,}/g, '\n\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function licenses() {
  const license = (name) => readFileSync(join(here, 'node_modules', name, 'LICENSE'), 'utf8').trim();
  return ['centrifuge', 'events'].map((name) => `${name}\n\n${license(name)}\n`).join('\n----\n\n');
}

export async function build(folder = here) {
  const commonjs = `${banner}\n${await minified(toES5(await bundle('cjs')))}`;
  const files = {
    'wx-gateway.js': commonjs,
    'wx-gateway.mjs': `${banner}\n${await bundle('esm')}`,
    'wx-gateway.d.ts': `${banner}\n${types()}`,
    'THIRD-PARTY.txt': licenses(),
  };
  files['miniprogram_dist/index.js'] = commonjs;
  files['miniprogram_dist/index.d.ts'] = files['wx-gateway.d.ts'];
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return files;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const files = await build(process.argv[2] && resolve(process.argv[2]));
  // The demo opens without a build, so it has the library as a file of its own.
  if (!process.argv[2]) writeFileSync(join(here, '../demo/lib/wx-gateway.js'), files['wx-gateway.js']);
}
