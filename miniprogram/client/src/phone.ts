/** What happens to the phone, whoever wants to know: hidden, shown, another network, a socket that closed somewhere. */

import type { Platform } from './api';

export interface PhoneEvents {
  hidden: () => void;
  /** After `milliseconds` in the background. */
  shown: (milliseconds: number) => void;
  offline: () => void;
  online: () => void;
  /** Sockets of the old network are dead, whether they say so or not. */
  switched: () => void;
  /** Something happened that may have ended the socket. */
  doubtful: () => void;
  /** A socket of this app has closed: ours, one of ours that was given up before, or another. */
  closed: () => void;
}

export class Phone {
  isHidden = false;
  private hiddenAt = 0;
  private network: string | null = null;
  private isOffline = false;
  private waiting: Array<() => void> = [];

  /** Listeners of wx are added once, and never taken off: not every base library can. */
  constructor(wx: Platform, events: PhoneEvents) {
    const listen = (name: keyof Platform, listener: (event: any) => void) => {
      const add = wx[name] as ((listener: (event: any) => void) => void) | undefined;
      if (typeof add === 'function') add.call(wx, listener);
    };
    listen('onAppHide', () => {
      if (this.isHidden) return;
      this.isHidden = true;
      this.hiddenAt = Date.now();
      events.hidden();
    });
    listen('onAppShow', () => {
      if (!this.isHidden) return; // the launch
      this.isHidden = false;
      events.shown(Date.now() - this.hiddenAt);
      const waiting = this.waiting;
      this.waiting = [];
      waiting.forEach((resolve) => resolve());
    });
    listen('onNetworkStatusChange', (event) => this.networkChanged(event || {}, events));
    // On some iPhones this is all that is heard of a socket that was cut in the background.
    listen('onSocketClose', () => events.closed());
  }

  /** Resolved while the app is on the screen: hidden, it has no network. */
  visible(): Promise<void> {
    return this.isHidden ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve();
  }

  private networkChanged(event: { isConnected?: boolean; networkType?: string }, events: PhoneEvents): void {
    const previous = this.network;
    this.network = event.networkType || null;
    if (event.isConnected === false) {
      this.isOffline = true;
      events.offline();
    } else if (this.isOffline) {
      this.isOffline = false;
      events.online();
    } else if (previous !== null && previous === this.network) {
      events.doubtful();
    } else {
      events.switched();
    }
  }
}
