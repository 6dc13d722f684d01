// A SocketTask of wx over the browser's WebSocket, as phones have it: close codes are lost, a socket may die
// without a word, and what is sent without a network goes nowhere.

import type { Device } from './device';
import type { Journal } from './journal';

type Listener = (event: any) => void;
interface Outcome {
  success?: (result: object) => void;
  fail?: (error: object) => void;
  complete?: (result: object) => void;
}

export class SocketTask {
  private readonly socket: WebSocket | null;
  private readonly listeners: Record<'open' | 'message' | 'error' | 'close', Listener[]> = {
    open: [], message: [], error: [], close: [],
  };
  private dead = false;
  private freeOut = 0;
  private freeIn = 0;

  constructor(
    url: string,
    private readonly device: Device,
    private readonly journal: Journal,
  ) {
    if (!device.reachable) {
      this.socket = null;
      setTimeout(() => {
        if (device.running.value) journal.device('w_refused');
        this.end('connectSocket:fail timeout', true);
      }, 200);
      return;
    }
    journal.phone('w_open');
    this.socket = new WebSocket(url);
    device.sockets.add(this);
    this.socket.onopen = () => this.arriving(200, () => {
      journal.device('w_opened');
      this.tell('open', { header: {} });
    });
    this.socket.onmessage = ({ data }) => {
      const text = String(data);
      if (this.lost) journal.incoming(text, true);
      else this.arriving(text.length, () => {
        journal.incoming(text, false);
        this.tell('message', { data: text });
      });
    };
    // No code and no reason: phones do not pass them on.
    this.socket.onclose = () => this.arriving(0, () => {
      if (!this.dead) journal.device('w_closed');
      this.end('closed', false);
    });
    this.socket.onerror = () => undefined;
  }

  send({ data, success, fail, complete }: { data: string } & Outcome): void {
    if (this.dead || this.socket?.readyState !== WebSocket.OPEN) {
      const error = { errMsg: 'sendSocketMessage:fail WebSocket is not connected' };
      fail?.(error);
      complete?.(error);
      return;
    }
    // The system takes it, whether it arrives or not.
    const result = { errMsg: 'sendSocketMessage:ok' };
    success?.(result);
    complete?.(result);
    this.journal.outgoing(data, this.lost);
    if (this.lost) return;
    this.freeOut = this.device.arrival(performance.now(), this.freeOut, data.length);
    this.at(this.freeOut, () => {
      if (!this.lost && this.socket?.readyState === WebSocket.OPEN) this.socket.send(data);
    });
  }

  close({ success, complete }: Outcome = {}): void {
    const result = { errMsg: 'closeSocket:ok' };
    success?.(result);
    complete?.(result);
    if (this.dead || this.socket?.readyState !== WebSocket.OPEN) return;
    this.journal.phone('w_close');
    if (this.lost) {
      // The app is done with it; the gateway does not hear of that before the network is back.
      this.device.orphans.add(this.socket);
      this.end('', false, true);
    } else {
      this.socket.close();
    }
  }

  onOpen(listener: Listener): void {
    this.listeners.open.push(listener);
  }

  onMessage(listener: Listener): void {
    this.listeners.message.push(listener);
  }

  onError(listener: Listener): void {
    this.listeners.error.push(listener);
  }

  onClose(listener: Listener): void {
    this.listeners.close.push(listener);
  }

  /** The system takes the socket away; the app hears of it, or not. */
  cut(told: boolean): void {
    if (this.dead) return;
    this.journal.device('w_cut');
    if (told) this.end('network change, cancel all task', true);
    else this.bury();
  }

  private get lost(): boolean {
    return this.dead || !this.device.reachable;
  }

  private end(reason: string, failed: boolean, orphaned = false): void {
    if (this.dead) return;
    this.bury(orphaned);
    if (failed) this.tell('error', { errMsg: reason });
    this.tell('close', { code: 1006, reason: failed ? 'abnormal closure' : '' });
  }

  private bury(orphaned = false): void {
    this.dead = true;
    this.device.sockets.delete(this);
    if (this.socket) {
      this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
      if (!orphaned) this.socket.close();
    }
  }

  private arriving(size: number, action: () => void): void {
    this.freeIn = this.device.arrival(performance.now(), this.freeIn, size);
    this.at(this.freeIn, () => {
      if (!this.dead) action();
    });
  }

  private at(time: number, action: () => void): void {
    const wait = time - performance.now();
    if (wait <= 0) action();
    else setTimeout(action, wait);
  }

  private tell(event: keyof typeof this.listeners, value: object): void {
    for (const listener of this.listeners[event]) listener(value);
  }
}
