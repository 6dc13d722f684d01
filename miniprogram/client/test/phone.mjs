// A phone for tests: a `wx` that is as strict, and as unreliable, as those of real phones, over real sockets.
//
// What it does because phones do it:
// - `connectSocket` tells success before anything has happened; at most `maxSockets` tasks exist at a time.
// - A SocketTask has send, close, onOpen, onMessage, onClose, onError: listeners add up, there is no off, no ping.
// - `close` before the socket is open does nothing. Close codes and reasons are lost on the way, or no event comes.
// - What is neither a string nor an ArrayBuffer is dropped by `send` without a word.
// - Five seconds after `onAppHide` every socket is cut, mostly without `onClose`, running requests fail with
//   `interrupted`, and the app's code stands still: no timer, no event until `onAppShow`.
// - Header values are made texts; there is a Referer and no Origin.
// - `success` of a request is called for every status. 10 requests, uploads and downloads at a time.
// - `uploadFile` sends one file as multipart, fields as texts, and gives `data` as text.
// - A code of `wx.login` is good once: it comes from the sandbox of the gateway.
//
// Times are those of a phone times `scale`.

import os from 'node:os';

import { makeWx } from './wx.mjs';

const BACKGROUND = 5000;

export class Phone {
  /** What outlives the app: storage, and files. */
  storage = new Map();
  logins = 0;
  network = { reachable: true, type: 'wifi' };
  lives = [];

  constructor(options) {
    this.options = {
      scale: 1,
      random: Math.random,
      maxSockets: 5,
      user: 'alice',
      referer: 'https://servicewechat.com/wx0000000000000001/devtools/page-frame.html',
      ...options,
    };
    this.folder = options.folder ?? os.tmpdir();
  }

  get random() {
    return this.options.random;
  }

  chance(probability) {
    return this.random() < probability;
  }

  pick(list) {
    return list[Math.floor(this.random() * list.length)];
  }

  /** Start the app anew: new memory, the same storage. The app is on the screen. */
  launch() {
    const life = new Life(this);
    this.lives.push(life);
    this.app = life;
    return life;
  }

  /** The app and everything it had in memory is gone, without a word to anybody. */
  kill() {
    this.app?.die();
    this.app = null;
  }

  hide() {
    this.app?.hide();
  }

  show() {
    this.app?.show();
  }

  /** The network goes away. `silent`: nobody is told, and open sockets look alive. */
  lose({ silent = false, notify = true } = {}) {
    this.network = { reachable: false, type: 'none' };
    this.app?.networkLost(silent);
    if (notify) this.app?.tell('network', { isConnected: false, networkType: 'none' });
  }

  /** There is a network again. */
  find(type = 'wifi', { notify = true } = {}) {
    this.network = { reachable: true, type };
    if (notify) this.app?.tell('network', { isConnected: true, networkType: type });
  }

  /** From Wi-Fi to 4G: sockets of the old network are dead, and may not say so. */
  switchNetwork(type, { silent = false, notify = true } = {}) {
    this.network = { reachable: true, type };
    this.app?.networkLost(silent);
    if (notify) this.app?.tell('network', { isConnected: true, networkType: type });
  }
}

/** One life of the app, from launch to kill. */
class Life {
  constructor(phone) {
    this.phone = phone;
    this.alive = true;
    this.hidden = false;
    this.suspended = false;
    this.cut = false;
    this.sockets = new Set();
    this.running = new Set();
    this.held = []; // what happens while the code stands still
    this.timers = new Map();
    this.nextTimer = 1;
    this.listeners = { show: [], hide: [], network: [], socketClose: [] };
    this.wx = makeWx(this);
  }

  // ------------------------------------------------------------------ the code of the app, and when it runs
  /** Run `callback` in the app: now, when it wakes up, or never. */
  run(callback) {
    if (!this.alive) return;
    if (this.suspended) this.held.push(callback);
    else callback();
  }

  soon(callback, milliseconds = 0) {
    setTimeout(() => this.run(callback), milliseconds);
  }

  setTimeout = (callback, milliseconds = 0, ...rest) => {
    const id = this.nextTimer++;
    const fire = () => {
      if (this.timers.delete(id)) callback(...rest);
    };
    this.timers.set(id, setTimeout(() => this.run(fire), milliseconds));
    return id;
  };

  clearTimeout = (id) => {
    clearTimeout(this.timers.get(id));
    this.timers.delete(id);
  };

  tell(event, argument) {
    this.run(() => this.listeners[event].slice().forEach((listener) => listener(argument)));
  }

  // ------------------------------------------------------------------ what happens to it
  hide() {
    if (this.hidden) return;
    this.hidden = true;
    this.tell('hide', {});
    this.background = setTimeout(() => this.suspend(), BACKGROUND * this.phone.options.scale);
  }

  suspend() {
    this.cut = true;
    this.suspended = true;
    for (const task of [...this.sockets]) task.cutInBackground();
    for (const stop of [...this.running]) stop('interrupted', 600003);
  }

  show() {
    if (!this.hidden) return;
    this.hidden = false;
    clearTimeout(this.background);
    this.cut = false;
    const held = this.held.splice(0);
    const wake = () => held.forEach((callback) => this.run(callback));
    this.suspended = false;
    if (this.phone.chance(0.5)) {
      wake();
      this.tell('show', {});
    } else {
      this.tell('show', {});
      wake();
    }
  }

  networkLost(silent) {
    for (const task of [...this.sockets]) task.lose(silent);
    for (const stop of [...this.running]) stop('network change, cancel all task', 600001);
  }

  die() {
    this.alive = false;
    clearTimeout(this.background);
    for (const timer of this.timers.values()) clearTimeout(timer);
    this.timers.clear();
    for (const task of [...this.sockets]) task.drop();
    for (const stop of [...this.running]) stop('the app is gone', 0);
  }

  get reachable() {
    return this.phone.network.reachable && !this.cut;
  }
}
