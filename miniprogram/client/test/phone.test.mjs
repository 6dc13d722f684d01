// The stand-in for a phone is as strict as a phone: what passes here by mistake would fail there.

import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import { GATEWAY_HTTP, GATEWAY_SOCKET, makePhone, sleep, until } from './world.mjs';

const phones = [];
afterEach(() => phones.splice(0).forEach((phone) => phone.kill()));

function there(options) {
  const phone = makePhone(options);
  phones.push(phone);
  return phone.launch();
}

function open(life, options = {}) {
  const events = [];
  const task = life.wx.connectSocket({ url: GATEWAY_SOCKET, success: () => events.push('success'), fail: ({ errMsg }) => events.push(errMsg), ...options });
  task.onOpen(() => events.push('open'));
  task.onMessage(({ data }) => events.push(data));
  task.onError(({ errMsg }) => events.push(errMsg));
  task.onClose((event) => events.push(event));
  return { task, events };
}

test('a task has no ping, no off, no bufferedAmount, no readyState', () => {
  assert.deepEqual(Object.keys(open(there()).task).sort(), ['close', 'onClose', 'onError', 'onMessage', 'onOpen', 'send']);
});

test('success comes before it is open, and also when it never opens', async () => {
  const life = there();
  const well = open(life);
  await until(() => well.events.length === 2);
  assert.deepEqual(well.events, ['success', 'open']);
  const refused = open(life, { url: GATEWAY_HTTP.replace('http', 'ws') + '/nowhere' });
  await until(() => refused.events.length === 2);
  assert.match(refused.events[1], /Invalid HTTP status/);
});

for (const maxSockets of [2, 5]) {
  test(`of ${maxSockets} sockets the next one fails, and its task is dumb`, async () => {
    const life = there({ maxSockets });
    for (let count = 0; count < maxSockets; count++) open(life);
    const { events } = open(life);
    await until(() => events.length);
    assert.match(events[0], /exceed max concurrent count/);
    await sleep(30);
    assert.equal(events.length, 1);
  });
}

test('close before it is open does nothing', async () => {
  const { task, events } = open(there());
  task.close({});
  await until(() => events.includes('open'));
});

test('what is neither text nor ArrayBuffer is dropped without a word', async () => {
  const { task, events } = open(there());
  await until(() => events.includes('open'));
  const told = () => events.push('told');
  task.send({ data: { id: 1 }, success: told, fail: told });
  task.send({ data: new Uint8Array(3), success: told, fail: told });
  await sleep(30);
  assert.deepEqual(events, ['success', 'open']);
});

test('five seconds in the background cut the socket, mostly without onClose, and the code stands still', async () => {
  const life = there();
  const { events } = open(life);
  await until(() => events.includes('open'));
  life.hide();
  const ticks = [];
  const tick = () => {
    ticks.push(1);
    life.setTimeout(tick, 20);
  };
  tick();
  await sleep(700);
  const asleep = ticks.length;
  await sleep(200);
  assert.equal(ticks.length, asleep);
  life.show();
  await until(() => ticks.length > asleep);
  assert.deepEqual(events, ['success', 'open']);
  assert.equal(life.sockets.size, 0);
});

test('close codes of the server do not arrive as they were sent', async () => {
  const codes = [];
  for (const chance of [0.1, 0.3, 0.5, 0.7, 0.9]) {
    const life = there({ random: () => chance });
    const { task, events } = open(life);
    await until(() => events.includes('open'));
    task.send({ data: '{"id":1,"rpc":{}}' }); // the gateway answers with 3501
    await until(() => typeof events.at(-1) === 'object');
    codes.push(events.at(-1).code);
  }
  assert.deepEqual(codes, [3501, 1005, 0, 1000, undefined]);
});

test('header values are made texts, fields too, and no Origin is sent', async () => {
  const seen = [];
  const { createServer } = await import('node:http');
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += chunk));
    request.on('end', () => {
      seen.push({ headers: request.headers, body });
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"code":104}');
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}/`;
  const life = there();
  const answers = [];
  life.wx.request({ url, header: { 'x-number': 1, 'x-object': {} }, success: (answer) => answers.push(answer) });
  life.wx.uploadFile({ url, filePath: new URL(import.meta.url).pathname, name: 'f', formData: { n: 1, list: [], yes: true }, success: (answer) => answers.push(answer) });
  await until(() => answers.length === 2);
  server.close();
  const [request, upload] = seen.sort((one, other) => one.body.length - other.body.length);
  assert.equal(request.headers['x-number'], '1');
  assert.equal(request.headers['x-object'], '[object Object]');
  assert.equal(request.headers.origin, undefined);
  assert.match(request.headers.referer, /^https:\/\/servicewechat\.com\//);
  for (const text of ['name="n"\r\n\r\n1\r\n', 'name="list"\r\n\r\n[object Array]', 'name="yes"\r\n\r\n[object Boolean]']) assert.ok(upload.body.includes(text), text);
  assert.deepEqual(answers.map(({ statusCode }) => statusCode), [404, 404]);
  assert.deepEqual(answers.map(({ data }) => typeof data).sort(), ['object', 'string'], 'of an upload it is a text');
});

test('the eleventh request fails', async () => {
  const life = there();
  const failed = [];
  for (let count = 0; count < 11; count++) life.wx.request({ url: `${GATEWAY_HTTP}/wx/session`, fail: ({ errno }) => failed.push(errno) });
  await until(() => failed.length);
  assert.deepEqual(failed, [600007]);
});
