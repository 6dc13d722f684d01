// What an error says to the developer.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { source } from './source.mjs';

const { GatewayError } = await source('errors.ts');

const said = (code, text) => new GatewayError(code, text).message;

test('advice stands beside the text of the registry', () => {
  assert.equal(said(104, 'method not found'), 'method not found. No handler of the backend has this name.');
  assert.equal(said(4501, 'signed out'), 'signed out. Call connect() to sign in again.');
  assert.equal(said(420, 'the limit is 10485760 bytes'), 'the limit is 10485760 bytes. Choose a smaller file.');
});

for (const [code, text] of [
  [108, 'not available: no backend answers rpc'],
  [104, 'method not found: no handler is registered for this method'],
  [103, 'not your order'],
  [401, 'sign in at the counter'],
  [1004, 'not your order'],
  [3503, 'the shop is closed'],
]) {
  test(`${code} "${text}" says all there is to say`, () => assert.equal(said(code, text), text));
}
