'use strict';
// Runs a mini-program snippet of the documentation with a stand-in for `wx` that does what phones do:
// a socket's close tells neither code nor reason, connectSocket succeeds before it is open, only text and
// ArrayBuffer can be sent. Usage: node wx.js SNIPPET SANDBOX_URL OPENID
// Lines on standard input: hide, show (the app), cut (the network drops the socket), down, up (the network).

const fs = require('node:fs');
const readline = require('node:readline');
const path = require('node:path');
const { createRequire } = require('node:module');

const sdk = createRequire(path.join(__dirname, '../sdk/js/package.json'));
const WebSocket = sdk('ws');
const [, , snippet, sandbox, openid] = process.argv;

const storage = new Map();
const listeners = { show: [], hide: [], network: [] };
const open = new Set();
let reachable = true;

class SocketTask {
  constructor({ url }) {
    this.heard = { open: [], message: [], close: [], error: [] };
    if (!reachable) {
      setTimeout(() => this.end('error', { errMsg: 'no network' }));
      return;
    }
    this.socket = new WebSocket(url);
    open.add(this);
    this.socket.on('open', () => this.tell('open', { header: {} }));
    this.socket.on('message', (data) => this.tell('message', { data: String(data) }));
    this.socket.on('close', () => this.end('close', { code: 1006, reason: 'abnormal closure' }));
    this.socket.on('error', () => this.end('error', { errMsg: 'Invalid HTTP status' }));
  }

  tell(name, event) {
    if (!this.ended) for (const listener of this.heard[name]) listener(event);
  }

  end(name, event) {
    this.tell(name, event);
    this.ended = true;
    open.delete(this);
    this.socket?.terminate();
  }

  onOpen(listener) { this.heard.open.push(listener); }
  onMessage(listener) { this.heard.message.push(listener); }
  onClose(listener) { this.heard.close.push(listener); }
  onError(listener) { this.heard.error.push(listener); }

  send({ data, success, fail }) {
    if (typeof data !== 'string' && !(data instanceof ArrayBuffer)) throw new Error('dropped without a word');
    if (this.ended || this.socket?.readyState !== WebSocket.OPEN) return fail?.({ errMsg: 'not open' });
    this.socket.send(data);
    success?.({});
  }

  close({ code = 1000, reason = '' } = {}) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.close(code, reason);
  }
}

globalThis.wx = {
  login({ success, fail }) {
    const body = JSON.stringify({ user: openid, openid });
    fetch(`${sandbox}/login`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
      .then((answer) => answer.json())
      .then(({ code }) => {
        console.log('wx.login');
        success({ code });
      }, fail);
  },
  connectSocket(options) {
    const task = new SocketTask(options);
    setTimeout(() => options.success?.({}));
    return task;
  },
  getStorageSync: (key) => storage.get(key) ?? '',
  setStorageSync: (key, value) => storage.set(key, value),
  removeStorageSync: (key) => storage.delete(key),
  onAppShow: (listener) => listeners.show.push(listener),
  onAppHide: (listener) => listeners.hide.push(listener),
  onNetworkStatusChange: (listener) => listeners.network.push(listener),
};

const happens = {
  hide: () => listeners.hide.forEach((listener) => listener()),
  show: () => listeners.show.forEach((listener) => listener({})),
  cut: () => open.forEach((task) => task.end('close', { code: 1006, reason: '' })),
  down() {
    reachable = false;
    happens.cut();
    listeners.network.forEach((listener) => listener({ isConnected: false, networkType: 'none' }));
  },
  up() {
    reachable = true;
    listeners.network.forEach((listener) => listener({ isConnected: true, networkType: 'wifi' }));
  },
};

readline
  .createInterface({ input: process.stdin })
  .on('line', (line) => happens[line]())
  .on('close', () => process.exit(0));

// What a user copied, or has from npm.
const library = path.join(__dirname, '../../miniprogram/client/wx-gateway.js');
const find = (name) => (/wx-gateway/.test(name) ? require(library) : sdk(name));
new Function('require', fs.readFileSync(snippet, 'utf8'))(find);
happens.show();
