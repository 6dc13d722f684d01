// Files up and down, through the strict wx, against a real gateway.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, test } from 'node:test';

import { GATEWAY_HTTP, failure, launch, makePhone, sleep, unique, until } from './world.mjs';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'wx-gateway-'));
after(() => fs.rmSync(folder, { recursive: true }));

const phones = [];
afterEach(() => phones.splice(0).forEach((phone) => phone.kill()));

function there(options = {}) {
  const phone = makePhone({ folder });
  phones.push(phone);
  return launch(phone, options);
}

function file(content, name = unique('file') + '.txt') {
  const filePath = path.join(folder, name);
  fs.writeFileSync(filePath, content);
  return filePath;
}

/** What the app asks of wx, and what becomes of it: `change` may answer instead. */
function watch(app, api, change = () => false) {
  const calls = [];
  const original = app.wx[api];
  app.wx[api] = (options) => {
    calls.push(options);
    return change(options, calls.length) || original(options);
  };
  return calls;
}

const fails = (errMsg) => (options) => {
  setTimeout(() => options.fail({ errMsg }), 1);
  return { abort() {}, onProgressUpdate() {} };
};

test('a file goes up with its fields, tells its progress, and comes down again', async () => {
  const app = there();
  const progress = [];
  const content = '海'.repeat(50_000);
  const stored = await app.gateway.upload({ filePath: file(content), visibility: 'signed_in', expiresIn: '7d', onProgress: (each) => progress.push(each.progress) });
  assert.equal(stored.size, 150_000);
  assert.equal(stored.url, `${GATEWAY_HTTP}/files/${stored.id}`);
  assert.ok(stored.expires > Date.now() / 1000);
  assert.equal(progress.at(-1), 100);
  assert.ok(progress.length > 1);
  const { tempFilePath } = await app.gateway.download({ id: stored.id });
  assert.equal(fs.readFileSync(tempFilePath, 'utf8'), content);
  const place = path.join(folder, 'here.txt');
  await app.gateway.download({ url: stored.url, filePath: place });
  assert.equal(fs.readFileSync(place, 'utf8'), content);
  assert.equal(app.phone.logins, 1);
});

test('a file in a channel is read by who listens there', async () => {
  const [sender, reader] = [there(), there()];
  const channel = unique('chat:room');
  const heard = [];
  const listening = [sender, reader].map(async (app) => {
    const subscription = app.gateway.subscribe(channel, app === reader ? ({ data }) => heard.push(data) : {});
    await app.gateway.connect();
    return subscription.ready();
  });
  await Promise.all(listening);
  await sender.gateway.upload({ filePath: file('for all of us'), channel });
  await until(() => heard.length);
  assert.equal(heard[0].type, 'file');
  const { tempFilePath } = await reader.gateway.download({ id: heard[0].file.id });
  assert.equal(fs.readFileSync(tempFilePath, 'utf8'), 'for all of us');
});

test('above the bound it goes in pieces, with a Chinese name', async () => {
  const app = there({ resumableFrom: 1000, pieceSize: 40_000 });
  const uploads = watch(app, 'uploadFile');
  const progress = [];
  const stored = await app.gateway.upload({ filePath: file('x'.repeat(100_000)), name: '大.txt', visibility: 'link', onProgress: (each) => progress.push(each.sent) });
  assert.deepEqual(progress, [0, 40_000, 80_000, 100_000]);
  assert.equal(uploads.length, 0);
  assert.deepEqual([stored.size, stored.name], [100_000, '大.txt']);
  assert.equal([...app.phone.storage.keys()].filter((key) => key.includes('upload')).length, 0);
});

test('an upload in pieces goes on where it was, in another life of the app', async () => {
  const app = there({ resumableFrom: 1000, pieceSize: 10_000 });
  const filePath = file('y'.repeat(100_000));
  const progress = [];
  const upload = app.gateway.upload({ filePath, visibility: 'signed_in', onProgress: ({ sent }) => progress.push(sent) });
  upload.catch(() => {});
  await until(() => progress.at(-1) >= 30_000);
  app.phone.kill();
  const next = launch(app.phone, { resumableFrom: 1000, pieceSize: 10_000 });
  const after = [];
  const stored = await next.gateway.upload({ filePath, onProgress: ({ sent }) => after.push(sent) });
  assert.ok(after[0] >= 30_000, `it began again at ${after[0]}`);
  assert.equal(stored.size, 100_000);
});

test('pieces cope with a network that comes and goes', async () => {
  const app = there({ resumableFrom: 1000, pieceSize: 10_000, attempts: 10 });
  watch(app, 'request', (options, count) => count % 3 === 0 && fails('request:fail network change, cancel all task')(options));
  const stored = await app.gateway.upload({ filePath: file('z'.repeat(60_000)) });
  assert.equal(stored.size, 60_000);
});

test('a lost network is tried again; a file that may be published already is not', async () => {
  const app = there();
  await app.gateway.connect();
  const uploads = watch(app, 'uploadFile', (options, count) => count === 1 && fails('uploadFile:fail timeout')(options));
  await app.gateway.upload({ filePath: file('again') });
  assert.equal(uploads.length, 2);
  const channel = unique('chat:room');
  await app.gateway.subscribe(channel, {}).ready();
  app.wx.uploadFile = (options) => {
    let told;
    setTimeout(() => {
      told({ progress: 100, totalBytesSent: 10, totalBytesExpectedToSend: 10 });
      options.fail({ errMsg: 'uploadFile:fail connection lost' });
    }, 1);
    uploads.push(options);
    return { abort() {}, onProgressUpdate: (listener) => (told = listener) };
  };
  const error = await failure(app.gateway.upload({ filePath: file('once'), channel }));
  assert.equal(error.code, app.library.LocalCode.NETWORK);
  assert.equal(uploads.length, 3);
});

test('a token that has expired meanwhile costs one sign-in, for all uploads together', async () => {
  const app = there();
  const token = await app.gateway.token();
  await fetch(`${GATEWAY_HTTP}/wx/logout`, { method: 'POST', headers: { authorization: `Bearer ${token}` } });
  const stored = await Promise.all([1, 2, 3].map((n) => app.gateway.upload({ filePath: file(`number ${n}`) })));
  assert.equal(stored.length, 3);
  assert.equal(app.phone.logins, 2);
});

test('a hidden app waits until it is shown', async () => {
  const app = there();
  await app.gateway.token();
  app.phone.hide();
  const upload = app.gateway.upload({ filePath: file('later') });
  await sleep(600);
  app.phone.show();
  assert.equal((await upload).size, 5);
});

test('fifteen at once are not too many for a phone that allows ten', async () => {
  const app = there();
  await app.gateway.token();
  const stored = await Promise.all(Array.from({ length: 15 }, (_, n) => app.gateway.upload({ filePath: file(`number ${n}`) })));
  assert.equal(new Set(stored.map(({ id }) => id)).size, 15);
});

test('what is refused says why, also on the way down', async () => {
  const app = there();
  const error = await failure(app.gateway.upload({ filePath: file(Buffer.from('4d5a90000300000004000000ffff0000', 'hex')) }));
  assert.equal(error.code, 421);
  assert.match(error.message, /another type/);
  assert.equal((await failure(app.gateway.download({ id: 'no-such-file' }))).code, 422);
  assert.match((await failure(app.gateway.upload({ filePath: '/no/such/file' }))).message, /no such file/);
  assert.equal((await failure(app.gateway.download({}))).code, 107);
});

test('a domain that is not on the list is told as that, and not tried again', async () => {
  const app = there();
  await app.gateway.token();
  const uploads = watch(app, 'uploadFile', fails('uploadFile:fail url not in domain list'));
  const error = await failure(app.gateway.upload({ filePath: file('x') }));
  assert.match(error.message, /add it under request, uploadFile and downloadFile/);
  assert.equal(uploads.length, 1);
});

test('an upload can be given up, whole or in pieces', async () => {
  for (const resumableFrom of [1000, 1e9]) {
    const app = there({ resumableFrom, pieceSize: 1000 });
    await app.gateway.token();
    const upload = app.gateway.upload({ filePath: file('x'.repeat(50_000)), onProgress: () => upload.abort() });
    assert.equal((await failure(upload)).code, app.library.LocalCode.ENDED);
  }
});

test('the token goes to the gateway, and to nobody else', async () => {
  const app = there({ attempts: 1 });
  const downloads = watch(app, 'downloadFile', fails('downloadFile:fail'));
  for (const url of ['https://elsewhere.example/a.png', `${GATEWAY_HTTP}.evil.example/a.png`]) {
    await failure(app.gateway.download({ url }));
  }
  await failure(app.gateway.download({ url: '/files/x' }));
  assert.deepEqual(downloads.slice(0, 2).map(({ header }) => header), [{}, {}]);
  assert.match(downloads[2].header['X-WX-Token'], /./);
});

test('a link works without a token', async () => {
  const app = there();
  const { id } = await app.gateway.upload({ filePath: file('for <image>') });
  assert.equal((await fetch(`${GATEWAY_HTTP}/files/${id}`)).status, 401);
  assert.equal(await (await fetch(await app.gateway.link(id, '1h'))).text(), 'for <image>');
});

test('success, fail and complete, as wx.uploadFile has them', async () => {
  const app = there();
  const told = [];
  app.gateway.upload({ filePath: file('x'), success: ({ size }) => told.push(size), complete: () => told.push('complete') });
  await until(() => told.length === 2);
  app.gateway.upload({ filePath: '/no/such/file', fail: ({ errMsg }) => told.push(errMsg) });
  await until(() => told.length === 3);
  assert.deepEqual(told.slice(0, 2), [1, 'complete']);
  assert.match(told[2], /^gateway:fail there is no such file/);
});
