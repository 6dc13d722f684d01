// The `wx` of one life of an app on the phone in `phone.mjs`.

import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

import { SocketTask, texts, toArrayBuffer } from './task.mjs';

const MAX_HTTP = 10;
const STORAGE_LIMIT = 1024 * 1024;
const CHUNK = 64 * 1024;

export function makeWx(life) {
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

/** What `connectSocket` gives where it refuses: nothing is ever heard of it. */
function silent() {
  const nothing = () => {};
  return { onOpen: nothing, onMessage: nothing, onClose: nothing, onError: nothing, send: nothing, close: nothing };
}
