/**
 * A SocketTask of wx behind the interface of a browser's WebSocket, which is what centrifuge takes.
 *
 * What phones do, and what is made of it:
 * - `success` of `connectSocket` means nothing: only `onOpen` does.
 * - `close()` before the socket is open does nothing, and the socket opens later: it is closed then.
 * - After `close()` no event may come: the end is told here.
 * - `onClose` comes with any code, or not at all: a code below 3000 says nothing, one from 3000 on is the gateway's.
 * - Listeners cannot be taken off: after the end they hear nothing.
 * - Frameworks return a promise of the task, or a task only where a callback is given.
 */

import type { Platform, Traffic } from './api';

export const CONNECTING = 0;
export const OPEN = 1;
export const CLOSED = 3;

/** Sockets that were given up while they opened: each counts until it has opened or failed (phones allow 2 to 5). */
const MAX_ABANDONED = 1;

export interface SocketOptions {
  wx: Platform;
  /** Milliseconds until a socket that does not open has failed. */
  timeout: number;
  traffic: (direction: Traffic['direction'], text: string) => void;
  /** A socket has not opened: what wx says of it. */
  unopened: (reason: unknown) => void;
  /** Of all sockets of this gateway together: those given up while they opened. */
  abandoned: { count: number };
}

type CloseEvent = { code: number; reason: string };

/** The class that centrifuge makes sockets of, for one gateway. */
export function socketClass(options: SocketOptions): new (url: string) => WxSocket {
  return class extends WxSocket {
    constructor(url: string) {
      super(url, options);
    }
  };
}

export class WxSocket {
  onopen: () => void = nothing;
  onmessage: (event: { data: string }) => void = nothing;
  onerror: (event: unknown) => void = nothing;
  onclose: (event: CloseEvent) => void = nothing;
  readyState = CONNECTING;
  private task: any = null;
  private abandoned = false;

  constructor(
    url: string,
    private readonly options: SocketOptions,
  ) {
    if (options.abandoned.count >= MAX_ABANDONED) {
      setTimeout(() => this.fail({ errMsg: 'an earlier socket is still opening' }), 0);
      return;
    }
    let returned: any;
    try {
      returned = options.wx.connectSocket({
        url,
        timeout: options.timeout,
        success: nothing,
        fail: (reason: unknown) => this.fail(reason),
        complete: nothing,
      });
    } catch (reason) {
      setTimeout(() => this.fail(reason), 0);
      return;
    }
    if (returned && typeof returned.then === 'function' && typeof returned.onOpen !== 'function') {
      returned.then((task: any) => this.adopt(task), (reason: unknown) => this.fail(reason));
    } else {
      this.adopt(returned);
    }
  }

  send(text: string): void {
    if (this.readyState !== OPEN) throw new Error('the socket is not open');
    this.options.traffic('out', text);
    this.task.send({ data: text, success: nothing, fail: () => this.broken() });
  }

  close(): void {
    if (this.readyState === CLOSED) return;
    const opening = this.readyState === CONNECTING;
    this.readyState = CLOSED;
    if (opening) {
      this.abandoned = true;
      this.options.abandoned.count++;
      // Where neither event comes, it must not stand in the way for ever.
      setTimeout(() => this.gone(), 2 * this.options.timeout);
    }
    this.closeTask(); // while it opens this does nothing on most phones, and ends it on others
    this.tellEnd({ code: 1000, reason: '' });
  }

  /** The socket is dead, whatever the phone says of it: told from outside (the global onSocketClose). */
  broken(): void {
    if (this.readyState === CLOSED) return;
    this.closeTask();
    this.end({ code: 1006, reason: '' });
  }

  private adopt(task: any): void {
    if (!task || typeof task.onOpen !== 'function') {
      setTimeout(() => this.fail({ errMsg: 'connectSocket gave no task' }), 0);
      return;
    }
    this.task = task;
    task.onOpen(() => this.opened());
    task.onMessage((event: { data: unknown }) => this.heard(event.data));
    task.onError((reason: unknown) => this.fail(reason));
    task.onClose((event: any) => this.closed(event));
  }

  private opened(): void {
    if (this.readyState === CLOSED) {
      this.closeTask();
      this.gone();
      return;
    }
    if (this.readyState !== CONNECTING) return;
    this.readyState = OPEN;
    this.onopen();
  }

  private heard(data: unknown): void {
    if (this.readyState !== OPEN || typeof data !== 'string') return;
    this.options.traffic('in', data);
    this.onmessage({ data });
  }

  private fail(reason: unknown): void {
    this.gone();
    if (this.readyState === CLOSED) return;
    const wasOpen = this.readyState === OPEN;
    if (!wasOpen) this.options.unopened(reason);
    this.onerror(reason);
    if (wasOpen) this.closeTask(); // an error of an open socket does not always close it
    this.end({ code: 1006, reason: '' });
  }

  private closed(event: { code?: unknown; reason?: unknown } | undefined): void {
    this.gone();
    if (this.readyState === CLOSED) return;
    this.end(understood(event));
  }

  private end(event: CloseEvent): void {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.onclose(event);
  }

  private tellEnd(event: CloseEvent): void {
    setTimeout(() => this.onclose(event), 0);
  }

  private closeTask(): void {
    try {
      if (this.task) this.task.close({ code: 1000, reason: '', success: nothing, fail: nothing });
    } catch (reason) {
      this.onerror(reason);
    }
  }

  /** No longer on the phone's list of sockets. */
  private gone(): void {
    if (!this.abandoned) return;
    this.abandoned = false;
    this.options.abandoned.count--;
  }
}

/** What a close event means, for centrifuge: it reads a reason as JSON, and ends for good by code only beside one. */
function understood(event: { code?: unknown; reason?: unknown } | undefined): CloseEvent {
  const code = Number(event && event.code) || 1006;
  if (code < 3000) return { code: code === 1009 ? 1009 : 1006, reason: '' };
  const reason = String((event && event.reason) || 'closed by the gateway');
  return { code, reason: isJson(reason) ? 'closed by the gateway: ' + reason : reason };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (notJson) {
    return false;
  }
}

function nothing(): void {
  // Some platforms want a callback to be there.
}
