// One simulated phone as its system sees it: the network, foreground and background, what is running.

import { signal } from '@preact/signals';
import type { SocketTask } from './socket';

export type Network = 'wifi' | 'wifi2' | '3g' | 'none';
type Listener<E> = (event: E) => void;

const SLOW_LATENCY = 400;
const SLOW_BYTES_PER_MS = 40; // 320 kbit/s, a 3G phone at the edge of its cell
/** Milliseconds in the background after which WeChat stops a mini-program and its sockets. */
const SUSPEND_AFTER = 5000;
const SWITCH_TAKES = 400;

export class Device {
  readonly network = signal<Network>('wifi');
  /** Seconds until the app comes back to the foreground; 0 where it is there. */
  readonly background = signal(0);
  readonly running = signal(true);
  readonly sockets = new Set<SocketTask>();
  /** Given up by the app while there was no network to say so. */
  readonly orphans = new Set<WebSocket>();
  private shown: Listener<object>[] = [];
  private hidden: Listener<object>[] = [];
  private networks: Listener<{ isConnected: boolean; networkType: string }>[] = [];
  private before: Network = 'wifi';
  private timers = new Set<number>();
  private suspended = false;

  /** Whether something that is sent now arrives. */
  get reachable(): boolean {
    return this.running.value && !this.suspended && this.network.value !== 'none';
  }

  get slow(): boolean {
    return this.network.value === '3g';
  }

  /** When something of `size` bytes that is sent at `now` is through; `free` is when the line is next. */
  arrival(now: number, free: number, size: number): number {
    if (!this.slow) return Math.max(now, free);
    return Math.max(now + SLOW_LATENCY, free) + size / SLOW_BYTES_PER_MS;
  }

  // ------------------------------------------------------------------ what wx tells the app
  onAppShow(listener: Listener<object>): void {
    this.shown.push(listener);
  }

  onAppHide(listener: Listener<object>): void {
    this.hidden.push(listener);
  }

  onNetworkStatusChange(listener: Listener<{ isConnected: boolean; networkType: string }>): void {
    this.networks.push(listener);
  }

  // ------------------------------------------------------------------ what happens to it
  /** To the background for `seconds`: after five of them the sockets are gone, and nobody is told. */
  toBackground(seconds: number): void {
    if (this.background.value || !this.running.value) return;
    this.background.value = seconds;
    this.later(SUSPEND_AFTER, () => {
      this.suspended = true;
      this.cut(false);
    });
    const tick = (): void => {
      this.background.value -= 1;
      if (this.background.value) this.later(1000, tick);
      else this.toForeground();
    };
    this.later(1000, tick);
    this.tell(this.hidden, {});
  }

  private toForeground(): void {
    this.suspended = false;
    this.tell(this.shown, {});
  }

  /** No network, as in a lift: sockets stay open on both ends, and nothing comes through. */
  loseNetwork(): void {
    this.before = this.network.value;
    this.change('none');
  }

  /** The network is back, with another address: what was open is dead, and nobody says so. */
  findNetwork(): void {
    this.cut(false);
    this.change(this.before === 'none' ? 'wifi' : this.before);
  }

  /** From one Wi-Fi to another: WeChat fails what is under way. */
  switchNetwork(): void {
    const next: Network = this.network.value === 'wifi' ? 'wifi2' : 'wifi';
    this.change('none');
    this.cut(true);
    this.later(SWITCH_TAKES, () => this.change(next));
  }

  setSlow(slow: boolean): void {
    this.change(slow ? '3g' : 'wifi');
  }

  /** The app is swiped away: nothing of it is left but what it has stored. */
  kill(): void {
    this.timers.forEach((timer) => clearTimeout(timer));
    this.timers.clear();
    this.background.value = 0;
    this.suspended = false;
    this.running.value = false;
    this.shown = [];
    this.hidden = [];
    this.networks = [];
    this.cut(false);
  }

  private change(network: Network): void {
    if (network === this.network.value) return;
    this.network.value = network;
    const networkType = network === 'wifi2' ? 'wifi' : network;
    this.tell(this.networks, { isConnected: network !== 'none', networkType });
  }

  private cut(told: boolean): void {
    for (const socket of [...this.sockets]) socket.cut(told);
    for (const orphan of this.orphans) orphan.close();
    this.orphans.clear();
  }

  private tell<E>(listeners: Listener<E>[], event: E): void {
    for (const listener of [...listeners]) listener(event);
  }

  private later(delay: number, action: () => void): void {
    const timer = window.setTimeout(() => {
      this.timers.delete(timer);
      action();
    }, delay);
    this.timers.add(timer);
  }
}
