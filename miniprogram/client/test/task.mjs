// A SocketTask of the phone in `phone.mjs`: its events arrive garbled, late or never.

import WebSocket from 'ws';

const CONNECT_TIMEOUT = 60000;

export class SocketTask {
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
    // A timer as that of `success` is, so that it comes after it, also where the gateway was faster.
    this.life.soon(() => this.ended || this.tell('open', { header: {}, profile: {} }));
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

/** What wx makes of values that are no texts. */
export function texts(values = {}) {
  const text = (value) =>
    typeof value === 'string' ? value : typeof value === 'number' ? String(value) : Object.prototype.toString.call(value);
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, text(value)]));
}

export function toArrayBuffer(buffer) {
  return buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
}
