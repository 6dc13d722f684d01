// A gateway (started by tests/miniprogram), and phones with an app in front of it.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';

import { load } from './load.mjs';
import { Phone } from './phone.mjs';
import { sleep } from './random.mjs';
import { sandbox } from './wx.mjs';

export const { GATEWAY_SOCKET, GATEWAY_HTTP, GATEWAY_API, GATEWAY_KEY } = process.env;

/** A tenth of a phone's times. */
export const SCALE = 1 / 10;

export const unique = (prefix) => `${prefix}-${randomUUID().slice(0, 12)}`;

export async function api(method, params) {
  const headers = { 'content-type': 'application/json', 'x-api-key': GATEWAY_KEY };
  const answer = await fetch(`${GATEWAY_API}/${method}`, { method: 'POST', headers, body: JSON.stringify(params) });
  const { result, error } = await answer.json();
  assert.equal(error, undefined, JSON.stringify(error));
  return result;
}

export const publish = (channel, data, more = {}) => api('publish', { channel, data, ...more });

/** The next exchange of a code at WeChat goes wrong. */
export async function fault(kind, more = {}) {
  const body = JSON.stringify({ kind, ...more });
  await fetch(`${GATEWAY_HTTP}/sandbox/faults`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
}

export const noFaults = () => fetch(`${GATEWAY_HTTP}/sandbox/faults`, { method: 'DELETE' });

export async function until(condition, what = String(condition), within = 5000) {
  const deadline = Date.now() + within * Number(process.env.GATEWAY_TEST_TIME_FACTOR ?? 1);
  for (;;) {
    const value = condition();
    if (value) return value;
    assert.ok(Date.now() < deadline, `waited in vain for: ${what}`);
    await sleep(3);
  }
}

/** A phone that does nothing by chance unless told to. */
export function makePhone(options = {}) {
  const user = unique('user');
  return new Phone({ user, scale: SCALE, sandbox: `${GATEWAY_HTTP}/sandbox`, lostClose: 0, random: () => 0.9, ...options });
}

/** The app on a phone: the library in a new life, and what it told. */
export function launch(phone, options = {}) {
  const life = phone.launch();
  const library = load(life);
  const seen = { states: [], errors: [], ended: [], traffic: [] };
  const gateway = library.createGateway({
    url: GATEWAY_SOCKET,
    httpUrl: GATEWAY_HTTP,
    hideDelay: 3000 * SCALE,
    minReconnectDelay: 50,
    maxReconnectDelay: 500,
    probeTimeout: 300,
    onTraffic: (frame) => seen.traffic.push(frame),
    ...options,
  });
  gateway.on('state', ({ state }) => seen.states.push(state));
  gateway.on('error', (error) => seen.errors.push(error));
  gateway.on('disconnected', (error) => seen.ended.push(error));
  return { phone, life, gateway, library, seen, wx: life.wx };
}

/** Commands that went out, by method. */
export function sent(app, method) {
  return app.seen.traffic
    .filter((frame) => frame.direction === 'out')
    .flatMap((frame) => frame.text.split('\n').map((line) => JSON.parse(line)))
    .filter((command) => command[method])
    .map((command) => command[method]);
}

/** What a promise is rejected with; it must be. */
export async function failure(promise) {
  try {
    const value = await promise;
    assert.fail(`it went well: ${JSON.stringify(value)}`);
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    return error;
  }
}

export { sandbox, sleep };
