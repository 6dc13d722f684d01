// Sign-in, as a phone lives it, against a real gateway.

import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import { GATEWAY_HTTP, failure, fault, launch, makePhone, noFaults, publish, sandbox, sent, sleep, until } from './world.mjs';

const phones = [];
afterEach(async () => {
  phones.splice(0).forEach((phone) => phone.kill());
  await noFaults();
});

function phoneOf(options) {
  const phone = makePhone(options);
  phones.push(phone);
  return phone;
}

const session = (phone) => JSON.parse(phone.storage.get('wx-gateway.session') ?? 'null');

/** End the session behind the phone's back, as after seven days away. */
const endSession = (phone) =>
  fetch(`${GATEWAY_HTTP}/wx/logout`, { method: 'POST', headers: { authorization: `Bearer ${session(phone).token}` } });

test('the first connect uses one code, every later one the token, also after the app was killed', async () => {
  const phone = phoneOf();
  const first = launch(phone);
  const { openid } = await first.gateway.connect();
  assert.match(openid, /^o/);
  phone.kill();
  const second = launch(phone);
  assert.equal(second.gateway.openid, openid, 'known before the connection is there');
  await second.gateway.connect();
  assert.equal(phone.logins, 1);
  assert.deepEqual(Object.keys(sent(second, 'connect')[0]).sort(), ['name', 'token']);
});

test('a token that has expired is forgotten, and a new code brings the next', async () => {
  const phone = phoneOf();
  await launch(phone).gateway.connect();
  const old = session(phone).token;
  phone.kill();
  await fetch(`${GATEWAY_HTTP}/wx/logout`, { method: 'POST', headers: { authorization: `Bearer ${old}` } });
  const app = launch(phone, { minReconnectDelay: 10000, maxReconnectDelay: 10000 });
  const before = Date.now();
  await app.gateway.connect();
  assert.ok(Date.now() - before < 4000, 'not after a back-off');
  assert.equal(phone.logins, 2);
  assert.notEqual(session(phone).token, old);
  assert.deepEqual(app.seen.ended, [], 'the app hears of no end');
  assert.deepEqual(app.seen.errors.map(({ code }) => code), [109]);
});

test('a code that is refused too is followed by a back-off, not by a loop', async () => {
  const phone = phoneOf();
  const app = launch(phone, { minReconnectDelay: 10000, maxReconnectDelay: 10000 });
  let codes = 0;
  app.wx.login = ({ success }) => success({ code: `used-before-${++codes}` });
  app.gateway.connect();
  await until(() => app.seen.errors.length === 2);
  await sleep(300);
  assert.deepEqual(app.seen.errors.map(({ code }) => code), [109, 109]);
  assert.equal(sent(app, 'connect').length, 2);
});

test('a token that was answered 3500 is not kept', async () => {
  const phone = phoneOf();
  phone.storage.set('wx-gateway.session', JSON.stringify({ token: 'no.such.token', openid: 'o' }));
  const app = launch(phone, { minReconnectDelay: 10000, maxReconnectDelay: 10000 });
  const before = Date.now();
  await app.gateway.connect();
  assert.ok(Date.now() - before < 4000, 'not after a back-off');
  assert.equal(phone.logins, 1);
  assert.notEqual(session(phone).token, 'no.such.token');
  assert.deepEqual(app.seen.errors, [], 'the app has nothing to mend, and nothing that it sent was lost');
});

test('however many ask at once, there is one wx.login', async () => {
  const phone = phoneOf();
  const app = launch(phone);
  const tokens = await Promise.all([app.gateway.token(), app.gateway.connect().then(() => app.gateway.token()), app.gateway.token()]);
  assert.equal(new Set(tokens).size, 1);
  assert.equal(phone.logins, 1);
});

test('requests sign in without a socket, and the socket takes their token', async () => {
  const phone = phoneOf();
  const app = launch(phone);
  const token = await app.gateway.token();
  await app.gateway.connect();
  assert.equal(sent(app, 'connect')[0].token, token);
  assert.equal(phone.logins, 1);
});

test('a user whom WeChat blocks gets no second wx.login, whatever the app does', async () => {
  const phone = phoneOf();
  await fault('blocked');
  const app = launch(phone);
  const error = await failure(app.gateway.connect());
  assert.equal(error.code, 401);
  assert.match(error.message, /another try changes nothing/);
  await noFaults();
  assert.equal((await failure(app.gateway.connect())).code, 401);
  assert.equal((await failure(app.gateway.token())).code, 401);
  phone.hide();
  phone.show();
  await sleep(100);
  assert.equal(phone.logins, 1);
  assert.equal(app.gateway.state, 'disconnected');
});

test('while WeChat is busy it tries again, each time with a new code', async () => {
  const phone = phoneOf();
  await fault('busy', { times: 2 });
  const app = launch(phone);
  await app.gateway.connect();
  assert.ok(app.seen.errors.some(({ code, temporary }) => code === 400 && temporary));
  assert.ok(phone.logins > 1);
});

test('a code that did not leave the phone is used by the next attempt', async () => {
  const phone = phoneOf();
  const app = launch(phone);
  const { connectSocket } = app.wx;
  let refused = 0;
  app.wx.connectSocket = (options) => {
    if (++refused > 3) return connectSocket(options);
    throw new Error('no socket today');
  };
  await app.gateway.connect();
  assert.equal(phone.logins, 1);
});

test('without a network it waits for one, and says why', async () => {
  const phone = phoneOf();
  phone.lose();
  const app = launch(phone);
  const connected = app.gateway.connect();
  await until(() => app.seen.errors.length);
  assert.match(app.seen.errors[0].message, /wx\.login failed/);
  phone.find('4g');
  await connected;
  assert.equal(phone.logins, 1);
});

test('a session that ends while connected is an end, and connect signs in anew', async () => {
  const phone = phoneOf();
  const app = launch(phone);
  await app.gateway.connect();
  await endSession(phone);
  const error = await until(() => app.seen.ended[0]);
  assert.equal(error.code, 4501);
  assert.equal(session(phone), null);
  await app.gateway.connect();
  assert.equal(phone.logins, 2);
});

test('signing out ends the session on the gateway, and the next user of the phone is another', async () => {
  const phone = phoneOf();
  const app = launch(phone);
  await app.gateway.connect();
  const token = await app.gateway.token();
  await app.gateway.signOut();
  assert.equal(session(phone), null);
  assert.equal(app.gateway.openid, undefined);
  assert.equal(app.gateway.state, 'disconnected');
  const answer = await fetch(`${GATEWAY_HTTP}/wx/session`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal(answer.status, 401);
});

test('a token of the team\'s own backend signs in, and is asked for again when it has expired', async () => {
  const phone = phoneOf();
  const tokens = [process.env.GATEWAY_JWT_EXPIRED, process.env.GATEWAY_JWT];
  const app = launch(phone, { getToken: () => tokens.shift() });
  await app.gateway.connect();
  assert.equal(tokens.length, 0);
  assert.equal(phone.logins, 0);
  assert.equal(session(phone), null, 'it is not ours to keep');
});

test('the user of such a token has a channel of their own too', async () => {
  const app = launch(phoneOf(), { getToken: () => process.env.GATEWAY_JWT });
  const heard = [];
  const own = app.gateway.personal(({ data }) => heard.push(data.n));
  await app.gateway.connect();
  await own.ready();
  await publish('#jwt-user', { n: 1 });
  await until(() => heard.length);
  assert.equal(own.channel, '#jwt-user');
});

test('the next user of a phone has a channel of their own, and no gap in it', async () => {
  const phone = phoneOf();
  const app = launch(phone);
  const heard = [];
  app.gateway.personal({ publication: ({ data }) => heard.push(data.n), gap: () => heard.push('gap') }, { keep: true });
  const { openid } = await app.gateway.connect();
  await publish(`#${openid}`, { n: 1 });
  await until(() => heard.length === 1);
  await app.gateway.signOut();
  phone.options.user = `${phone.options.user}-other`;
  const next = await app.gateway.connect();
  assert.notEqual(next.openid, openid);
  await publish(`#${openid}`, { n: 2 });
  await publish(`#${next.openid}`, { n: 3 });
  await until(() => heard.includes(3));
  assert.deepEqual(heard, [1, 3]);
});

test('a getToken that fails is tried again, and told', async () => {
  const phone = phoneOf();
  let calls = 0;
  const getToken = async () => {
    if (++calls === 1) throw new Error('backend is away');
    return process.env.GATEWAY_JWT;
  };
  const app = launch(phone, { getToken });
  await app.gateway.connect();
  assert.match(app.seen.errors[0].message, /getToken failed: .*backend is away/);
});

test('storage that is full costs a sign-in, and nothing else', async () => {
  const phone = phoneOf();
  phone.storageIsFull = true;
  const app = launch(phone);
  await app.gateway.connect();
  assert.match(app.seen.errors[0].message, /Storage failed/);
  phone.hide();
  await until(() => app.gateway.state === 'background');
  phone.show();
  await until(() => app.gateway.state === 'connected');
  assert.equal(phone.logins, 1, 'the token is in memory');
});

// ---------------------------------------------------------------------------- open data
test('open data is checked and decrypted by the gateway', async () => {
  const app = launch(phoneOf());
  const info = await app.gateway.openData();
  assert.equal(info.data.openId, info.openid);
  assert.equal(app.phone.logins, 1);
});

test('a stale key costs one more sign-in and one more look, and the answer is right', async () => {
  const phone = phoneOf();
  const app = launch(phone);
  await app.gateway.connect();
  await sandbox(phone, 'rotate', { user: phone.options.user });
  const info = await app.gateway.openData();
  assert.equal(info.openid, app.gateway.openid);
  assert.equal(phone.logins, 2);
});

test('a session that the phone knows to be over is renewed before the data is fetched', async () => {
  const phone = phoneOf();
  const app = launch(phone);
  await app.gateway.connect();
  phone.sessionLost = true;
  let logins = 0;
  const { getUserInfo } = app.wx;
  app.wx.getUserInfo = (options) => {
    logins = phone.logins;
    return getUserInfo(options);
  };
  await app.gateway.openData();
  assert.equal(logins, 2, 'before, not after');
});

test('data that the app fetched itself gets the advice to fetch it again', async () => {
  const phone = phoneOf();
  const app = launch(phone);
  await app.gateway.connect();
  await sandbox(phone, 'rotate', { user: phone.options.user });
  const old = await sandbox(phone, 'userinfo', { user: phone.options.user });
  const error = await failure(app.gateway.decrypt(old));
  assert.equal(error.code, 405);
  assert.match(error.message, /Call wx\.getUserInfo again/);
  const fresh = await sandbox(phone, 'userinfo', { user: phone.options.user });
  assert.equal((await app.gateway.decrypt(fresh)).openid, app.gateway.openid);
});

test('the number behind the button', async () => {
  const phone = phoneOf();
  const app = launch(phone);
  await app.gateway.connect();
  const { code } = await sandbox(phone, 'phone', { user: phone.options.user, phone: '13800138000' });
  assert.equal((await app.gateway.getPhoneNumber({ detail: { code } })).purePhoneNumber, '13800138000');
  assert.equal((await failure(app.gateway.getPhoneNumber({ code }))).code, 406);
  const error = await failure(app.gateway.getPhoneNumber({ detail: { errMsg: 'getPhoneNumber:fail user deny' } }));
  assert.match(error.message, /did not give a number/);
});

test('what the user said to subscribe messages is told to the gateway', async () => {
  const app = launch(phoneOf({ subscribe: { one: 'accept', two: 'reject', three: 'filter' } }));
  await app.gateway.connect();
  const granted = await app.gateway.requestSubscribeMessage(['one', 'two', 'three']);
  assert.deepEqual(granted, { one: 'accept', two: 'reject', three: 'filter' });
  await until(() => sent(app, 'rpc').length);
  assert.deepEqual(sent(app, 'rpc')[0], {
    method: 'gateway.granted',
    data: { templates: { one: 'accept', two: 'reject', three: 'reject' } },
  });
});

test('the personal channel is heard without asking', async () => {
  const app = launch(phoneOf());
  const heard = [];
  app.gateway.personal((publication) => heard.push(publication));
  await app.gateway.connect();
  await publish(`#${app.gateway.openid}`, { text: 'for you' });
  await until(() => heard.length);
  assert.deepEqual(heard[0].data, { text: 'for you' });
});
