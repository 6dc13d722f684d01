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

import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import WebSocket from 'ws';

const BACKGROUND = 5000;
const CONNECT_TIMEOUT = 60000;
const MAX_HTTP = 10;
const STORAGE_LIMIT = 1024 * 1024;
const CHUNK = 64 * 1024;

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

class SocketTask {
  constructor(life, options) {
    this.life = life;
    this.heard = { open: [], message: [], close: [], error: [] };
    this.mute = false;
    this.ended = false;
    life.sockets.add(this);
    const { phone } = life;
    this.timer = setTimeout(
      () => this.fail('exception onOpen fail code:9, msg:Timer Expired'),
      options.timeout ?? CONNECT_TIMEOUT * phone.options.scale,
    );
    if (!life.reachable) {
      // Half of the phones notice at once, the others wait for the timer.
      if (phone.chance(0.5)) setTimeout(() => this.fail('exception onOpen fail code:6, msg:no network'), 1);
      return;
    }
    const headers = { ...texts(options.header), Referer: phone.options.referer };
    this.socket = new WebSocket(options.url, options.protocols ?? [], { headers, perMessageDeflate: false, skipUTF8Validation: true });
    this.socket.on('open', () => this.opened());
    this.socket.on('message', (data, isBinary) => this.message(data, isBinary));
    this.socket.on('close', (code, reason) => this.closed(code, String(reason)));
    this.socket.on('error', () => this.fail('exception onOpen fail code:20, msg:Invalid HTTP status'));
  }

  onOpen = (listener) => void this.heard.open.push(listener);
  onMessage = (listener) => void this.heard.message.push(listener);
  onClose = (listener) => void this.heard.close.push(listener);
  onError = (listener) => void this.heard.error.push(listener);

  send = (options) => {
    const { data, success, fail } = options ?? {};
    if (typeof data !== 'string' && !(data instanceof ArrayBuffer)) return; // dropped without a word
    if (this.socket?.readyState !== WebSocket.OPEN || this.ended) {
      this.life.soon(() => fail?.({ errMsg: 'sendSocketMessage:fail:not connected' }));
      return;
    }
    if (!this.mute) this.socket.send(data);
    this.life.phone.options.onSend?.(data, this.mute);
    this.life.soon(() => success?.({ errMsg: 'sendSocketMessage:ok' }));
  };

  close = (options) => {
    if (this.socket?.readyState === WebSocket.OPEN && !this.mute) {
      this.socket.close(options?.code ?? 1000, options?.reason ?? '');
    } else if (this.socket?.readyState === WebSocket.OPEN) {
      // Into a dead network: the phone gives up by itself.
      this.end();
      this.tellClose({ code: 1000, reason: '' });
    } // before it is open: nothing
    this.life.soon(() => options?.success?.({ errMsg: 'closeSocket:ok' }));
  };

  opened() {
    clearTimeout(this.timer);
    this.tell('open', { header: {}, profile: {} });
  }

  message(data, isBinary) {
    if (this.mute || this.ended) return;
    const { tap } = this.life.phone.options;
    const text = isBinary ? toArrayBuffer(data) : String(data);
    if (tap && tap(text, this) === false) return;
    this.tell('message', { data: text });
  }

  closed(code, reason) {
    if (this.ended || this.mute) return;
    this.end();
    this.tellClose(this.garbled(code, reason));
  }

  /** What is left of a close code on its way through the phone. */
  garbled(code, reason) {
    const { phone } = this.life;
    return phone.pick([
      { code, reason },
      { code: 1005, reason: '' },
      { code: 1006, reason: 'abnormal closure' },
      { code: 0, reason: '' },
      { code: 1000, reason: '1000' },
      {},
    ]);
  }

  tellClose(event) {
    const { phone } = this.life;
    const quirk = phone.options.lostClose ?? 0.2;
    if (phone.chance(quirk)) {
      if (phone.chance(0.5)) this.life.tell('socketClose', event); // some iPhones: only the global one
      return;
    }
    this.tell('close', event);
    this.life.tell('socketClose', event);
  }

  fail(errMsg) {
    if (this.ended) return;
    this.end();
    this.tell('error', { errMsg });
  }

  cutInBackground() {
    this.end();
    if (this.life.phone.chance(0.3)) this.tellClose({ code: 1000, reason: 'interrupted' });
  }

  lose(silent) {
    if (silent && this.socket?.readyState === WebSocket.OPEN) {
      this.mute = true; // half open: it looks alive, nothing goes through
      return;
    }
    this.end();
    this.tellClose({ code: 1006, reason: '' });
  }

  drop() {
    this.end();
  }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
    this.life.sockets.delete(this);
    this.socket?.terminate();
  }

  tell(name, event) {
    this.life.run(() => this.heard[name].slice().forEach((listener) => listener(event)));
  }
}

function makeWx(life) {
  const { phone } = life;
  const ok = (options, api, result = {}) =>
    life.soon(() => {
      const answer = { ...result, errMsg: `${api}:ok` };
      options.success?.(answer);
      options.complete?.(answer);
    });
  const no = (options, api, message, errno) =>
    life.soon(() => {
      const answer = { errMsg: `${api}:fail ${message}`, errno };
      options.fail?.(answer);
      options.complete?.(answer);
    });

  /** One request, upload or download: a place among ten, and an end by whoever is first. */
  function network(api, options, start) {
    const task = { abort: () => {} };
    if (life.running.size >= MAX_HTTP) {
      no(options, api, 'exceed max task count', 600007);
      return task;
    }
    if (!life.reachable) {
      no(options, api, life.cut ? 'interrupted' : 'net::ERR_INTERNET_DISCONNECTED', life.cut ? 600003 : 600001);
      return task;
    }
    let over = false;
    const close = () => {
      const first = !over;
      over = true;
      clearTimeout(timer);
      life.running.delete(stop);
      return first;
    };
    const fail = (message, errno) => close() && no(options, api, message, errno);
    const request = start({ done: (result) => close() && ok(options, api, result), fail });
    const stop = (message, errno) => {
      fail(message, errno);
      request.destroy();
    };
    life.running.add(stop);
    const timer = setTimeout(() => stop('timeout', 5), options.timeout ?? 60000);
    task.abort = () => stop('abort', 0);
    return task;
  }

  function send(options, method, headers, body, answer) {
    const request = http.request(options.url, {
      method,
      headers: { ...texts(options.header), ...headers, Referer: phone.options.referer },
      agent,
    });
    request.on('response', (response) => {
      const chunks = [];
      response.on('data', (chunk) => {
        chunks.push(chunk);
        answer.heard?.(Buffer.concat(chunks).length, Number(response.headers['content-length'] ?? 0));
      });
      response.on('end', () => answer.done(response, Buffer.concat(chunks)));
      response.on('error', () => answer.fail('connection lost', 600001));
    });
    request.on('error', (error) => answer.fail(String(error.message), 600001));
    write(request, body, answer.sent);
    return request;
  }

  return {
    connectSocket(options) {
      if (life.sockets.size >= phone.options.maxSockets) {
        no(options, 'connectSocket', 'createSocketTask:fail wcwss taskID=9 exceed max concurrent count');
        return silent();
      }
      const task = new SocketTask(life, options);
      life.soon(() => options.success?.({ errMsg: 'connectSocket:ok' })); // means nothing
      life.soon(() => options.complete?.({ errMsg: 'connectSocket:ok' }));
      const { onOpen, onMessage, onClose, onError, send: sending, close } = task;
      return { onOpen, onMessage, onClose, onError, send: sending, close };
    },

    request(options) {
      const method = options.method ?? 'GET';
      if (!['OPTIONS', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'TRACE', 'CONNECT'].includes(method)) throw new Error(`no method ${method}`);
      const { data } = options;
      const body = data === undefined ? undefined : data instanceof ArrayBuffer ? Buffer.from(data) : typeof data === 'string' ? data : JSON.stringify(data);
      const own = Object.keys(options.header ?? {}).some((name) => name.toLowerCase() === 'content-type');
      const headers = own ? {} : { 'content-type': 'application/json' };
      if (body !== undefined) headers['content-length'] = Buffer.byteLength(body);
      return network('request', options, ({ done, fail }) =>
        send(options, method, headers, body, {
          fail,
          done: (response, content) => {
            const text = String(content);
            let parsed = text;
            try {
              parsed = JSON.parse(text);
            } catch {
              // given as it is
            }
            done({ statusCode: response.statusCode, header: response.headers, data: parsed, cookies: [] });
          },
        }),
      );
    },

    uploadFile(options) {
      const progress = [];
      const boundary = `----wx${Math.floor(phone.random() * 1e15)}`;
      let content;
      try {
        content = fs.readFileSync(options.filePath);
      } catch {
        no(options, 'uploadFile', 'file not found');
        return { abort() {}, onProgressUpdate() {}, onHeadersReceived() {} };
      }
      const fields = Object.entries(texts(options.formData)).map(
        ([name, value]) => `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
      );
      const head = `--${boundary}\r\nContent-Disposition: form-data; name="${options.name}"; filename="${path.basename(options.filePath)}"\r\nContent-Type: application/octet-stream\r\n\r\n`;
      const body = Buffer.concat([Buffer.from(fields.join('') + head), content, Buffer.from(`\r\n--${boundary}--\r\n`)]);
      const headers = { 'content-type': `multipart/form-data; boundary=${boundary}`, 'content-length': body.length };
      const told = (sent) =>
        life.run(() =>
          progress.forEach((listener) =>
            listener({ progress: Math.floor((100 * sent) / body.length), totalBytesSent: sent, totalBytesExpectedToSend: body.length }),
          ),
        );
      const task = network('uploadFile', options, ({ done, fail }) =>
        send(options, 'POST', headers, body, {
          fail,
          sent: told,
          done: (response, text) => done({ statusCode: response.statusCode, data: String(text) }), // a text, whatever it is
        }),
      );
      task.onProgressUpdate = (listener) => progress.push(listener);
      task.onHeadersReceived = () => {};
      return task;
    },

    downloadFile(options) {
      const progress = [];
      const file = options.filePath ?? path.join(phone.folder, `tmp_${Math.floor(phone.random() * 1e15)}`);
      const task = network('downloadFile', options, ({ done, fail }) =>
        send(options, 'GET', {}, null, {
          fail,
          heard: (written, total) =>
            life.run(() =>
              progress.forEach((listener) =>
                listener({ progress: total ? Math.floor((100 * written) / total) : 0, totalBytesWritten: written, totalBytesExpectedToWrite: total }),
              ),
            ),
          done: (response, content) => {
            fs.writeFileSync(file, content); // whatever the status
            const place = options.filePath ? { filePath: file } : { tempFilePath: file };
            done({ statusCode: response.statusCode, ...place });
          },
        }),
      );
      task.onProgressUpdate = (listener) => progress.push(listener);
      task.onHeadersReceived = () => {};
      return task;
    },

    login(options) {
      if (!life.reachable) return no(options, 'login', 'network error');
      const body = JSON.stringify({ user: phone.options.user });
      const stop = (message) => {
        life.running.delete(stop);
        no(options, 'login', message);
      };
      life.running.add(stop);
      const request = http.request(`${phone.options.sandbox}/login`, { method: 'POST', agent, headers: { 'content-type': 'application/json' } });
      const end = () => life.running.delete(stop);
      request.on('response', (response) => {
        const chunks = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('end', () => end() && ++phone.logins && ok(options, 'login', { code: JSON.parse(String(Buffer.concat(chunks))).code }));
      });
      request.on('error', () => end() && stop('network error'));
      request.end(body);
    },

    checkSession(options) {
      if (phone.sessionLost) no(options, 'checkSession', 'session time out, need relogin');
      else ok(options, 'checkSession');
    },

    async getUserInfo(options) {
      const answer = await sandbox(phone, 'userinfo', { user: phone.options.user });
      ok(options, 'getUserInfo', answer);
    },

    requestSubscribeMessage(options) {
      const said = phone.options.subscribe ?? {};
      ok(options, 'requestSubscribeMessage', Object.fromEntries(options.tmplIds.map((id) => [id, said[id] ?? 'accept'])));
    },

    getStorageSync: (key) => (phone.storage.has(key) ? JSON.parse(phone.storage.get(key)) : ''),
    setStorageSync(key, value) {
      const text = JSON.stringify(value);
      if (phone.storageIsFull || text.length > STORAGE_LIMIT) throw new Error('setStorageSync:fail exceed storage max size');
      phone.storage.set(key, text);
      phone.options.onStore?.(key, value);
    },
    removeStorageSync: (key) => void phone.storage.delete(key),

    getFileSystemManager: () => ({
      getFileInfo(options) {
        try {
          ok(options, 'getFileInfo', { size: fs.statSync(options.filePath).size });
        } catch {
          no(options, 'getFileInfo', 'no such file');
        }
      },
      readFile(options) {
        try {
          const content = fs.readFileSync(options.filePath);
          const at = options.position ?? 0;
          const piece = content.subarray(at, at + (options.length ?? content.length));
          ok(options, 'readFile', { data: options.encoding ? piece.toString(options.encoding) : toArrayBuffer(piece) });
        } catch {
          no(options, 'readFile', 'no such file');
        }
      },
    }),

    onAppShow: (listener) => void life.listeners.show.push(listener),
    onAppHide: (listener) => void life.listeners.hide.push(listener),
    onNetworkStatusChange: (listener) => void life.listeners.network.push(listener),
    onSocketClose: (listener) => void life.listeners.socketClose.push(listener),
  };
}

const agent = new http.Agent({ keepAlive: false });

/** A body in chunks, and how much of it has left. */
function write(request, body, told) {
  const content = Buffer.from(body ?? '');
  let at = 0;
  const next = () => {
    if (request.destroyed) return;
    told?.(at);
    if (at >= content.length) return void request.end();
    const chunk = content.subarray(at, at + CHUNK);
    at += chunk.length;
    request.write(chunk, next);
  };
  next();
}

export async function sandbox(phone, what, body) {
  const answer = await fetch(`${phone.options.sandbox}/${what}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return answer.status === 204 ? null : answer.json();
}

/** What wx makes of values that are no texts. */
function texts(values = {}) {
  const text = (value) =>
    typeof value === 'string' ? value : typeof value === 'number' ? String(value) : Object.prototype.toString.call(value);
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, text(value)]));
}

function toArrayBuffer(buffer) {
  return buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
}

/** What `connectSocket` gives where it refuses: nothing is ever heard of it. */
function silent() {
  const nothing = () => {};
  return { onOpen: nothing, onMessage: nothing, onClose: nothing, onError: nothing, send: nothing, close: nothing };
}
