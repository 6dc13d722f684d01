// A phone's life with its connection, against a real gateway.

import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import { SCALE, api, failure, launch, makePhone, publish, sent, sleep, unique, until } from './world.mjs';

const phones = [];
afterEach(() => phones.splice(0).forEach((phone) => phone.kill()));

/** A connected app, and what it heard in a channel of its own. */
async function there(options = {}, phoneOptions = {}) {
  const phone = makePhone(phoneOptions);
  phones.push(phone);
  const app = launch(phone, options);
  app.channel = unique('news');
  app.heard = [];
  app.subscription = app.gateway.subscribe(app.channel, (publication) => app.heard.push(publication));
  app.client = (await app.gateway.connect()).client;
  await app.subscription.ready();
  return app;
}

const numbers = (app) => app.heard.map(({ data }) => data.n);
const clients = async (channel) => Object.keys((await api('presence', { channel })).presence);
const gone = async (channel) => {
  for (let tries = 0; (await clients(channel)).length; tries++) {
    assert.ok(tries < 400, 'the gateway still sees the phone');
    await sleep(5);
  }
};

// ---------------------------------------------------------------------------- background
test('hidden for long it leaves cleanly, comes back at once, and misses nothing', async () => {
  const app = await there();
  const chat = app.gateway.subscribe(unique('chat:room'), {});
  await chat.ready();
  app.phone.hide();
  await gone(chat.channel); // before WeChat cuts the socket
  assert.equal(app.gateway.state, 'background');
  assert.equal(app.life.cut, false);
  await publish(app.channel, { n: 1 });
  await sleep(6000 * SCALE);
  const before = Date.now();
  app.phone.show();
  await until(() => app.heard.length);
  assert.ok(Date.now() - before < 2000, 'not after a back-off');
  assert.deepEqual(app.heard[0], { channel: app.channel, data: { n: 1 }, recovered: true, offset: 1, epoch: app.subscription.position.epoch });
});

test('hidden for a moment it keeps its connection', async () => {
  const app = await there();
  app.phone.hide();
  await sleep(1000 * SCALE);
  app.phone.show();
  await publish(app.channel, { n: 1 });
  await until(() => app.heard.length);
  assert.equal(app.heard[0].recovered, false);
  assert.deepEqual(app.seen.states, ['connecting', 'connected']);
});

test('code that was suspended before it could leave does not trust the socket it had', async () => {
  const app = await there({ hideDelay: 4900 * SCALE });
  app.phone.hide();
  clearTimeout(app.life.background);
  app.life.suspend(); // at once: our own timer never ran
  await publish(app.channel, { n: 1 });
  await sleep(6000 * SCALE);
  app.phone.show();
  await until(() => app.heard.length);
  assert.deepEqual(numbers(app), [1]);
});

test('the gateway is told when the app is hidden and shown, where that is wanted', async () => {
  const app = await there({ reportVisibility: true });
  app.phone.hide();
  await until(() => sent(app, 'rpc').length === 1);
  app.phone.show();
  await until(() => sent(app, 'rpc').length === 2);
  assert.deepEqual(sent(app, 'rpc').map(({ method, data }) => [method, data]), [['gateway.hide', {}], ['gateway.show', {}]]);
});

// ---------------------------------------------------------------------------- network
for (const silent of [false, true]) {
  test(`another network, and the old socket ${silent ? 'looks alive' : 'says so'}: back at once`, async () => {
    const app = await there();
    app.phone.switchNetwork('4g', { silent });
    await publish(app.channel, { n: 1 });
    await until(() => app.heard.length, 'the message', 1500);
    assert.deepEqual(numbers(app), [1]);
  });
}

test('a socket that died in silence is found by the silence', async () => {
  const app = await there({ pingDelay: 200 });
  app.phone.switchNetwork('wifi', { silent: true, notify: false });
  await publish(app.channel, { n: 1 });
  await until(() => app.heard.length, 'the message', 4000);
  assert.deepEqual(numbers(app), [1]);
});

test('a call without an answer on a silent socket is enough to open another', async () => {
  const app = await there({ pingDelay: 60000, timeout: 300 });
  app.phone.switchNetwork('wifi', { silent: true, notify: false });
  await publish(app.channel, { n: 1 });
  const error = await failure(app.gateway.rpc('echo', {}));
  assert.equal(error.code, app.library.LocalCode.TIMEOUT);
  await until(() => app.heard.length, 'the message', 2000);
});

test('on iPhones that only tell the global onSocketClose, that is enough', async () => {
  const app = await there({ pingDelay: 60000 }, { lostClose: 1, random: () => 0.4 });
  for (const task of [...app.life.sockets]) task.lose(false);
  await publish(app.channel, { n: 1 });
  await until(() => app.heard.length, 'the message', 2500);
});

test('a phone that goes away and comes back within a second has one subscription, not two', async () => {
  const app = await there();
  for (let times = 0; times < 5; times++) {
    app.phone.hide();
    await sleep(4 * 100);
    app.phone.show();
  }
  await until(() => app.gateway.state === 'connected');
  await app.subscription.ready();
  await publish(app.channel, { n: 1 });
  await until(() => app.heard.length);
  await sleep(50);
  assert.deepEqual(numbers(app), [1]);
});

test('a gateway that cannot be reached is named, with what wx said of it', async () => {
  const phone = makePhone();
  phones.push(phone);
  const app = launch(phone, { url: 'ws://127.0.0.1:1' });
  app.gateway.connect();
  await until(() => app.seen.errors.length > 1);
  const { NETWORK } = app.library.LocalCode;
  assert.deepEqual([...new Set(app.seen.errors.map(({ code, temporary }) => `${code} ${temporary}`))], [`${NETWORK} true`]);
  assert.match(app.seen.errors[0].message, /^Cannot reach ws:\/\/127\.0\.0\.1:1\/\S+: .*Invalid HTTP status\. Is the gateway running/);
  assert.match(app.seen.errors[0].cause.errMsg, /Invalid HTTP status/);
});

// ---------------------------------------------------------------------------- ends
test('a disconnect that is final stays final, also when the app is shown again', async () => {
  const app = await there();
  await api('disconnect', { user: app.gateway.openid, disconnect: { code: 4600, reason: 'you are banned' } });
  const error = await until(() => app.seen.ended[0]);
  assert.deepEqual([error.code, error.message], [4600, 'you are banned']);
  app.phone.hide();
  app.phone.show();
  app.phone.switchNetwork('4g');
  await sleep(700);
  assert.equal(app.gateway.state, 'disconnected');
  assert.equal(sent(app, 'connect').length, 1);
});

test('a disconnect that is not final is followed by a return', async () => {
  const app = await there();
  await api('disconnect', { user: app.gateway.openid, disconnect: { code: 4001, reason: 'another node' } });
  await until(() => sent(app, 'connect').length === 2 && app.gateway.state === 'connected');
  assert.deepEqual(app.seen.ended, []);
});

test('an app that lets go hears why its calls fail, and nothing after that', async () => {
  const app = await there();
  app.gateway.disconnect();
  await until(() => app.gateway.state === 'disconnected');
  assert.equal(app.seen.ended[0].code, app.library.LocalCode.ENDED);
  const error = await failure(app.gateway.publish(app.channel, { n: 1 }));
  assert.match(error.message, /call connect\(\) first/);
});

// ---------------------------------------------------------------------------- channels
test('away for longer than the history: the app is told to load its state anew', async () => {
  const phone = makePhone();
  phones.push(phone);
  const app = launch(phone);
  const channel = unique('short:news');
  const gaps = [];
  const heard = [];
  const subscription = app.gateway.subscribe(channel, { publication: ({ data }) => heard.push(data.n), gap: (context) => gaps.push(context) });
  await app.gateway.connect();
  await subscription.ready();
  await publish(channel, { n: 1 });
  await until(() => heard.length === 1);
  phone.lose();
  for (let n = 2; n <= 6; n++) await publish(channel, { n }); // it keeps three
  phone.find('4g');
  await until(() => gaps.length);
  await publish(channel, { n: 7 });
  await until(() => heard.length === 2);
  assert.deepEqual(heard, [1, 7]);
  assert.equal(gaps[0].position.offset, 6);
});

test('what a channel without recovery loses is a gap each time, and is explained once', async () => {
  const app = await there();
  const gaps = [];
  const told = [];
  const handlers = (name) => ({ gap: ({ channel }) => gaps.push([name, channel]) });
  app.gateway.on('error', ({ message }) => told.push(message));
  const plain = app.gateway.subscribe(unique('plain:once'), handlers('plain'));
  await plain.ready();
  assert.deepEqual([gaps, told], [[], []], 'the first time nothing can be missing');
  for (const network of ['4g', 'wifi']) {
    const before = gaps.length;
    app.phone.switchNetwork(network);
    await until(() => gaps.length > before);
  }
  assert.deepEqual(gaps, [['plain', plain.channel], ['plain', plain.channel]]);
  assert.equal(told.filter((message) => message.startsWith(`${plain.channel} keeps no recoverable history`)).length, 1);
  const kept = app.gateway.subscribe(unique('plain:kept'), handlers('kept'), { keep: true });
  await until(() => told.some((message) => message.startsWith(kept.channel)), 'before anything was missed');
  const since = app.gateway.subscribe(unique('plain:since'), handlers('since'), { since: { offset: 1, epoch: 'x' } });
  await until(() => told.some((message) => message.startsWith(since.channel)));
  assert.deepEqual(gaps.slice(2), [['since', since.channel]]);
});

test('two pages listen to one subscription, and each leaves by itself', async () => {
  const app = await there();
  const second = [];
  const begun = [];
  const page = app.gateway.subscribe(app.channel, { publication: ({ data }) => second.push(data.n), subscribed: (context) => begun.push(context) });
  await until(() => begun.length, 'a late page is told too');
  assert.equal(sent(app, 'subscribe').length, 1);
  await publish(app.channel, { n: 1 });
  await until(() => app.heard.length && second.length);
  page.unsubscribe();
  await publish(app.channel, { n: 2 });
  await until(() => app.heard.length === 2);
  assert.deepEqual(second, [1]);
  assert.equal(sent(app, 'unsubscribe').length, 0);
  app.subscription.unsubscribe();
  await until(() => sent(app, 'unsubscribe').length === 1);
});

test('a channel can be left and entered again at once', async () => {
  const app = await there();
  app.subscription.unsubscribe();
  const heard = [];
  const again = app.gateway.subscribe(app.channel, ({ data }) => heard.push(data.n));
  await again.ready();
  await publish(app.channel, { n: 1 });
  await until(() => heard.length);
  assert.deepEqual(app.heard, []);
});

test('a refused subscription says why, and can be tried again', async () => {
  const app = await there();
  const ended = [];
  const subscription = app.gateway.subscribe('secret:x', { unsubscribed: (context) => ended.push(context) });
  const error = await failure(subscription.ready());
  assert.equal(error.code, 103);
  assert.equal(error.message, 'permission denied: the namespace does not let this client subscribe');
  assert.equal(ended[0].code, 103);
  assert.equal((await failure(app.gateway.subscribe('nowhere:x', {}).ready())).code, 102);
});

test('a handler that throws is told of, and stops nothing', async () => {
  const app = await there();
  const told = [];
  app.gateway.subscribe(app.channel, {
    publication() {
      throw new Error('my own mistake');
    },
    error: (error) => told.push(error),
  });
  await publish(app.channel, { n: 1 });
  await publish(app.channel, { n: 2 });
  await until(() => app.heard.length === 2 && told.length === 2);
  assert.match(told[0].message, /my own mistake/);
  assert.equal(app.gateway.state, 'connected');
});

test('a listener that throws hinders no other', async () => {
  const app = await there();
  app.gateway.on('state', () => {
    throw new Error('mine');
  });
  app.phone.switchNetwork('4g');
  await until(() => app.seen.states.length === 4);
  assert.match(app.seen.errors[0].message, /A listener of the app threw: mine/);
});

test('the user\'s own channel can be subscribed to by its name', async () => {
  const app = await there();
  const heard = [];
  const own = app.gateway.subscribe(`#${app.gateway.openid}`, (publication) => heard.push(publication));
  assert.ok((await own.ready()).position);
  await publish(`#${app.gateway.openid}`, { n: 1 });
  await until(() => heard.length === 1);
});

test('a kept position survives the app: it goes on where it was', async () => {
  const app = await there();
  const channel = unique('news');
  const seen = [];
  const watch = (each) => each.gateway.subscribe(channel, ({ data }) => seen.push(data.n), { keep: true });
  await watch(app).ready();
  await publish(channel, { n: 1 });
  await until(() => seen.length === 1);
  app.phone.hide(); // what is in memory is written down
  app.phone.kill();
  await publish(channel, { n: 2 });
  const next = launch(app.phone);
  const own = [];
  next.gateway.personal(({ data }) => own.push(data.n), { keep: true });
  watch(next);
  await next.gateway.connect();
  await until(() => seen.length === 2);
  assert.deepEqual(seen, [1, 2]);
  // The user's own channel too.
  await publish(`#${next.gateway.openid}`, { n: 3 });
  await until(() => own.length === 1);
  next.phone.hide();
  next.phone.kill();
  await publish(`#${next.gateway.openid}`, { n: 4 });
  const last = launch(next.phone);
  last.gateway.personal(({ data, recovered }) => own.push([data.n, recovered]), { keep: true });
  await last.gateway.connect();
  await until(() => own.length === 2);
  assert.deepEqual(own, [3, [4, true]]);
});

test('who is there, and who comes and goes', async () => {
  const [one, two] = [await there(), await there()];
  const room = unique('chat:room');
  const events = [];
  await one.gateway.subscribe(room, { join: ({ info }) => events.push(['join', info.user]), leave: ({ info }) => events.push(['leave', info.user]) }).ready();
  const other = two.gateway.subscribe(room, {});
  await other.ready();
  await until(() => events.some(([name, user]) => name === 'join' && user === two.gateway.openid));
  const present = await one.gateway.presence(room);
  assert.deepEqual(Object.values(present).map(({ user }) => user).sort(), [one.gateway.openid, two.gateway.openid].sort());
  assert.deepEqual(await one.gateway.presenceStats(room), { numClients: 2, numUsers: 2 });
  other.unsubscribe();
  await until(() => events.some(([name, user]) => name === 'leave' && user === two.gateway.openid));
});

test('history, from the newest, and by pieces', async () => {
  const app = await there();
  const room = unique('chat:room');
  const chat = app.gateway.subscribe(room, {});
  await chat.ready();
  for (const n of [1, 2, 3]) await chat.publish({ n });
  const newest = await chat.history({ limit: 2, reverse: true });
  assert.deepEqual(newest.publications.map(({ data }) => data.n), [3, 2]);
  const { offset, epoch } = newest.publications.at(-1);
  const rest = await app.gateway.history(room, { limit: 10, since: { offset, epoch }, reverse: true });
  assert.deepEqual(rest.publications.map(({ data }) => data.n), [1]);
  assert.equal(rest.publications[0].info.user, app.gateway.openid);
});

// ---------------------------------------------------------------------------- calls
test('what was called without a connection waits for it, in order', async () => {
  const app = await there();
  app.phone.lose();
  const published = [1, 2, 3].map((n) => app.gateway.publish(app.channel, { n }));
  const asked = app.gateway.rpc('echo', { q: 1 });
  assert.equal(app.gateway.waiting, 4);
  await sleep(50);
  app.phone.find('4g');
  await Promise.all(published);
  assert.deepEqual(await asked, { q: 1 });
  await until(() => app.heard.length === 3);
  assert.deepEqual(numbers(app), [1, 2, 3]);
});

test('or is refused, as the app chooses', async () => {
  const app = await there({ offline: 'refuse' });
  app.phone.lose();
  const error = await failure(app.gateway.publish(app.channel, { n: 1 }));
  assert.deepEqual([error.code, error.temporary], [app.library.LocalCode.OFFLINE, true]);
  const waiting = app.gateway.rpc('echo', 1, { offline: 'queue' });
  app.phone.find('4g');
  assert.equal(await waiting, 1);
});

test('what waits is bounded, in number, in bytes and in time', async () => {
  const app = await there({ queueLimit: 3, queueBytes: 1000, queueTimeout: 150 });
  app.phone.lose();
  const waiting = [1, 2].map((n) => failure(app.gateway.publish(app.channel, { n })));
  const { QUEUE_FULL, OFFLINE } = app.library.LocalCode;
  assert.equal((await failure(app.gateway.publish(app.channel, 'x'.repeat(1000)))).code, QUEUE_FULL);
  waiting.push(failure(app.gateway.publish(app.channel, 3)));
  assert.equal((await failure(app.gateway.publish(app.channel, 4))).code, QUEUE_FULL);
  assert.deepEqual((await Promise.all(waiting)).map(({ code }) => code), [OFFLINE, OFFLINE, OFFLINE]);
});

test('callbacks as wx has them, beside promises', async () => {
  const app = await there();
  const told = [];
  app.gateway.rpc({ method: 'echo', data: [1], success: (result) => told.push(['success', result]), complete: () => told.push(['complete']) });
  await until(() => told.length === 2);
  assert.deepEqual(told, [['success', [1]], ['complete']]);
  told.length = 0;
  app.gateway.rpc({ method: 'nothing', fail: (error) => told.push([error.code, error.errMsg]), complete: (outcome) => told.push([outcome.code]) });
  await until(() => told.length === 2);
  assert.equal(told[0][0], 104);
  assert.match(told[0][1], /^gateway:fail method not found/);
});

test('who may only do it as a subscriber is told to subscribe first', async () => {
  const app = await there();
  const channel = unique('chat:room');
  const { gateway } = app;
  const first = [() => gateway.publish(channel, 1), () => gateway.presence(channel), () => gateway.history(channel)];
  for (const call of first) assert.match((await failure(call())).message, /^permission denied: subscribe first, the namespace allows \w+ to subscribers$/);
  const never = await failure(gateway.publish(unique('plain:x'), 1));
  assert.equal(never.message, 'permission denied: the namespace does not allow publish here');
  await gateway.subscribe(channel, {}).ready();
  for (const call of first) await call();
});

test('errors of the gateway say what is the matter', async () => {
  const app = await there();
  const error = await failure(app.gateway.history(unique('plain:x')));
  assert.ok(error instanceof app.library.GatewayError);
  assert.deepEqual([error.code, error.temporary], [108, false]);
  assert.equal(error.message, 'not available: the channel keeps no history');
});

// ---------------------------------------------------------------------------- inbox
test('what asks for it is acknowledged after its handler ran, and not before', async () => {
  const app = await there({ acknowledge: true });
  let release;
  const held = new Promise((resolve) => {
    release = resolve;
  });
  const heard = [];
  app.gateway.personal(({ data }) => {
    heard.push(data.n);
    return held;
  });
  const own = `#${app.gateway.openid}`;
  await publish(own, { n: 1 }, { tags: { ack: 'one' } });
  await until(() => heard.length);
  await sleep(150);
  assert.deepEqual(sent(app, 'rpc'), []);
  release();
  await until(() => sent(app, 'rpc').length);
  assert.deepEqual(sent(app, 'rpc')[0], { method: 'ack', data: { ids: ['one'] } });
});

test('what a handler failed on is not acknowledged, and handled when it comes again; what was handled is not handled twice', async () => {
  const app = await there({ acknowledge: true });
  const heard = [];
  app.gateway.personal(({ data }) => {
    heard.push(data.n);
    if (heard.length === 1) throw new Error('not ready');
  });
  const own = `#${app.gateway.openid}`;
  const send = () => publish(own, { n: 1 }, { tags: { ack: 'one' } });
  await send();
  await until(() => heard.length === 1);
  await send();
  await until(() => heard.length === 2);
  await until(() => sent(app, 'rpc').length === 1);
  await send();
  await until(() => sent(app, 'rpc').length === 2, 'it is acknowledged again');
  assert.deepEqual(heard, [1, 1]);
});

test('a letter waits for a phone that is away, and does not come again once it was acknowledged', async () => {
  const app = await there({ acknowledge: true });
  const own = `#${app.gateway.openid}`;
  const heard = [];
  app.gateway.personal(({ data }) => heard.push(data.n));
  app.phone.lose();
  const { id } = await api('publish', { channel: own, data: { n: 1 }, ack: true });
  app.phone.kill();
  const next = launch(app.phone, { acknowledge: true });
  next.gateway.personal(({ data }) => heard.push(data.n));
  app.phone.find('4g');
  await next.gateway.connect();
  await until(() => heard.length);
  for (let tries = 0; (await api('delivery', { id })).status !== 'acknowledged'; tries++) {
    assert.ok(tries < 400, 'the gateway was not told');
    await sleep(5);
  }
  next.phone.kill();
  const last = launch(app.phone, { acknowledge: true });
  last.gateway.personal(({ data }) => heard.push(data.n));
  await last.gateway.connect();
  await sleep(200);
  assert.deepEqual(heard, [1]);
});
