'use strict';
// An H5 page of another origin: Taro's network API, the library on it, and a real gateway.
// Usage: node walk.js SOCKET HTTP API KEY TOKEN PORT. Prints what happened, as JSON.

const http = require('node:http');
const path = require('node:path');
const { createRequire } = require('node:module');

const { chromium } = require('playwright-core');

const client = createRequire(path.join(__dirname, '../../../miniprogram/client/package.json'));
const [, , socket, gatewayHttp, api, key, token, port] = process.argv;

/** What Taro's own build would define: parts of its DOM, which is not what this is about. */
const SWITCHES = ['INNER_HTML', 'ADJACENT_HTML', 'CLONE_NODE', 'CONTAINS', 'MUTATION_OBSERVER', 'SIZE_APIS', 'TEMPLATE_CONTENT'].map((name) => `ENABLE_${name}`);

async function bundle() {
  const result = await client('esbuild').build({
    entryPoints: [path.join(__dirname, 'page.js')],
    bundle: true,
    write: false,
    minify: true,
    logLevel: 'error',
    define: { 'process.env': '{}', global: 'globalThis', ...Object.fromEntries(SWITCHES.map((name) => [name, 'false'])) },
  });
  return result.outputFiles[0].text;
}

async function main() {
  const script = await bundle();
  const server = http.createServer((request, response) => {
    if (request.url === '/page.js') response.writeHead(200, { 'content-type': 'text/javascript' }).end(script);
    else response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>H5</title><link rel="icon" href="data:,"><div id="app"></div><script src="/page.js"></script>');
  });
  await new Promise((resolve) => server.listen(Number(port), '127.0.0.1', resolve));
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  try {
    const page = await browser.newPage();
    const trouble = [];
    page.on('pageerror', (error) => trouble.push(String(error)));
    page.on('console', (message) => message.type() === 'error' && trouble.push(message.text()));
    await page.goto(`http://127.0.0.1:${port}/`);
    if (trouble.length) throw new Error(`the page did not load: ${trouble}`);
    await page.evaluate(connect, { socket, gatewayHttp, token });
    await publish('#' + (await page.evaluate(() => window.gateway.openid)), { n: 1 });
    await publish('news', { n: 2 });
    await page.waitForFunction(() => window.heard.length === 2, undefined, { timeout: 10000 });
    const seen = await page.evaluate(transfer);
    // Away for a while, and back: nothing is missing.
    await page.evaluate(() => window.gateway.disconnect());
    await publish('news', { n: 3 });
    await page.evaluate(() => window.gateway.connect());
    await page.waitForFunction(() => window.heard.length === 3, undefined, { timeout: 10000 });
    seen.heard = await page.evaluate(() => window.heard);
    seen.trouble = trouble;
    console.log(JSON.stringify(seen));
  } finally {
    await browser.close();
    server.close();
  }
}

async function publish(channel, data) {
  const answer = await fetch(`${api}/publish`, { method: 'POST', headers: { 'x-api-key': key }, body: JSON.stringify({ channel, data }) });
  const { error } = await answer.json();
  if (error) throw new Error(error.message);
}

// ---------------------------------------------------------------------------- in the page
async function connect({ socket, gatewayHttp, token }) {
  window.heard = [];
  window.gateway = window.createGateway({ url: socket, httpUrl: gatewayHttp, wx: window.taro, getToken: () => token });
  window.gateway.personal(({ data }) => data.n && window.heard.push(['own', data.n, false])); // not the progress of files
  const news = window.gateway.subscribe('news', ({ data, recovered }) => window.heard.push(['news', data.n, recovered]));
  await window.gateway.connect();
  await news.ready();
}

async function transfer() {
  const text = '海'.repeat(100000);
  const filePath = URL.createObjectURL(new File([text], '海.txt', { type: 'text/plain' }));
  const progress = [];
  const stored = await window.gateway.upload({ filePath, name: '海.txt', visibility: 'signed_in', onProgress: (each) => progress.push(each.progress) });
  const { tempFilePath } = await window.gateway.download({ id: stored.id });
  const back = await (await fetch(tempFilePath)).text();
  const refused = await window.gateway.download({ id: 'nothing' }).then(() => 0, (error) => error.code);
  const linked = await (await fetch(await window.gateway.link(stored.id))).text();
  return { size: stored.size, name: stored.name, same: back === text, linked: linked === text, progress: progress.at(-1), refused };
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
