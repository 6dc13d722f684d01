// The SocketTask as a WebSocket: everything that phones do to it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { sleep } from './random.mjs';
import { source } from './source.mjs';

const { socketClass, OPEN, CLOSED } = await source('socket.ts');

/** A task whose events the test calls. */
function scripted(shape = (task) => task) {
  const tasks = [];
  const wx = {
    connectSocket(options) {
      const heard = {};
      const on = (name) => (listener) => void (heard[name] = heard[name] ?? []).push(listener);
      const task = {
        options,
        sent: [],
        closes: [],
        tell: (name, event) => (heard[name] ?? []).forEach((listener) => listener(event)),
        onOpen: on('open'),
        onMessage: on('message'),
        onClose: on('close'),
        onError: on('error'),
        send: (message) => task.sent.push(message),
        close: (how) => task.closes.push(how),
      };
      tasks.push(task);
      setTimeout(() => options.success?.({ errMsg: 'connectSocket:ok' }));
      return shape(task);
    },
  };
  const traffic = [];
  const Socket = socketClass({ wx, timeout: 50, traffic: (...frame) => traffic.push(frame), unopened: () => {}, abandoned: { count: 0 } });
  const make = () => {
    const socket = new Socket('ws://gateway');
    socket.events = [];
    for (const name of ['open', 'message', 'error', 'close']) {
      socket[`on${name}`] = (event) => socket.events.push([name, event]);
    }
    socket.names = () => socket.events.map(([name]) => name);
    return socket;
  };
  return { tasks, traffic, make, wx };
}

test('success of connectSocket means nothing: only onOpen opens', async () => {
  const { tasks, make } = scripted();
  const socket = make();
  await sleep(10);
  assert.deepEqual(socket.events, []);
  assert.throws(() => socket.send('{}'), /not open/);
  tasks[0].tell('open', {});
  assert.deepEqual(socket.names(), ['open']);
  assert.equal(socket.readyState, OPEN);
});

test('text goes both ways, and can be watched', () => {
  const { tasks, traffic, make } = scripted();
  const socket = make();
  tasks[0].tell('open', {});
  socket.send('{"id":1}');
  tasks[0].tell('message', { data: '{}' });
  assert.equal(tasks[0].sent[0].data, '{"id":1}');
  assert.deepEqual(socket.events[1], ['message', { data: '{}' }]);
  assert.deepEqual(traffic, [['out', '{"id":1}'], ['in', '{}']]);
});

test('what is no text is not handed on', () => {
  const { tasks, make } = scripted();
  const socket = make();
  tasks[0].tell('open', {});
  tasks[0].tell('message', { data: new ArrayBuffer(3) });
  assert.deepEqual(socket.names(), ['open']);
});

test('a socket that was closed while it opened is closed when it opens, and nobody hears of it', async () => {
  const { tasks, make } = scripted();
  const socket = make();
  socket.close();
  await sleep(5);
  assert.deepEqual(socket.names(), ['close']);
  const before = tasks[0].closes.length;
  tasks[0].tell('open', {});
  assert.equal(tasks[0].closes.length, before + 1, 'the first close did nothing');
  tasks[0].tell('message', { data: '{}' });
  tasks[0].tell('close', { code: 1000 });
  assert.deepEqual(socket.names(), ['close']);
});

test('only one socket is given up while it opens: the next but one waits, so that phones with two sockets cope', async () => {
  const { tasks, make } = scripted();
  make().close();
  make().close();
  const third = make();
  await sleep(5);
  assert.equal(tasks.length, 2 - 1, 'the second was not even tried');
  assert.deepEqual(third.names(), ['error', 'close']);
  tasks[0].tell('error', { errMsg: 'timeout' });
  make();
  assert.equal(tasks.length, 2, 'the way is free again');
});

test('a socket of which nothing is heard does not stand in the way for ever', async () => {
  const { tasks, make } = scripted();
  make().close();
  await sleep(120);
  make();
  assert.equal(tasks.length, 2);
});

test('close tells its end by itself: some iPhones never do', async () => {
  const { tasks, make } = scripted();
  const socket = make();
  tasks[0].tell('open', {});
  socket.close();
  assert.equal(socket.readyState, CLOSED);
  await sleep(5);
  assert.deepEqual(socket.names(), ['open', 'close']);
  assert.equal(tasks[0].closes[0].code, 1000);
});

test('listeners cannot be taken off, so what comes after the end is not heard', () => {
  const { tasks, make } = scripted();
  const socket = make();
  tasks[0].tell('open', {});
  tasks[0].tell('close', { code: 1006 });
  tasks[0].tell('message', { data: '{}' });
  tasks[0].tell('open', {});
  tasks[0].tell('error', {});
  tasks[0].tell('close', { code: 1006 });
  assert.deepEqual(socket.names(), ['open', 'close']);
});

for (const [event, code, reason] of [
  [{ code: 1000, reason: 'interrupted' }, 1006, ''],
  [{ code: 1005, reason: '' }, 1006, ''],
  [{ code: 0, reason: '' }, 1006, ''],
  [{}, 1006, ''],
  [undefined, 1006, ''],
  [{ code: 1000, reason: '1000' }, 1006, ''],
  [{ code: '3001', reason: 'shutdown' }, 3001, 'shutdown'],
  [{ code: 3500, reason: '' }, 3500, 'closed by the gateway'],
  [{ code: 3001, reason: '{}' }, 3001, 'closed by the gateway: {}'],
  [{ code: 1009, reason: '' }, 1009, ''],
]) {
  test(`a close of ${JSON.stringify(event)} is understood as ${code}`, () => {
    const { tasks, make } = scripted();
    const socket = make();
    tasks[0].tell('open', {});
    tasks[0].tell('close', event);
    assert.deepEqual(socket.events.at(-1), ['close', { code, reason }]);
  });
}

test('an error is an end, before and after the socket was open', () => {
  const { tasks, make } = scripted();
  const [first, second] = [make(), make()];
  tasks[0].tell('error', { errMsg: 'exception onOpen fail code:20, msg:Invalid HTTP status' });
  tasks[1].tell('open', {});
  tasks[1].tell('error', { errMsg: 'gone' });
  assert.deepEqual(first.names(), ['error', 'close']);
  assert.deepEqual(second.names(), ['open', 'error', 'close']);
  assert.equal(tasks[1].closes.length, 1, 'it may still be there');
});

test('a send that fails is the end of the socket', () => {
  const { tasks, make } = scripted();
  const socket = make();
  tasks[0].tell('open', {});
  socket.send('x');
  tasks[0].sent[0].fail({ errMsg: 'sendSocketMessage:fail' });
  assert.deepEqual(socket.names(), ['open', 'close']);
});

test('a promise of a task will do', async () => {
  const { tasks, make } = scripted((task) => Promise.resolve(task));
  const socket = make();
  await sleep(1);
  tasks[0].tell('open', {});
  assert.deepEqual(socket.names(), ['open']);
});

test('no task, a rejected promise and an exception are failures, not silence', async () => {
  for (const shape of [
    () => undefined,
    () => Promise.reject(new Error('no')),
    () => {
      throw new Error('url not in domain list');
    },
  ]) {
    const socket = scripted(shape).make();
    await sleep(5);
    assert.deepEqual(socket.names(), ['error', 'close']);
  }
});

test('callbacks are always given: without one, uni-app gives no task', () => {
  const { tasks, make } = scripted();
  make();
  for (const name of ['success', 'fail', 'complete']) assert.equal(typeof tasks[0].options[name], 'function');
  assert.equal(tasks[0].options.timeout, 50);
});
