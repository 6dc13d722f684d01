/** One channel on this phone: where it stands, and who listens. */

import type { Subscription as CentrifugeSubscription } from 'centrifuge';

import type { Handlers, History, HistoryOptions, Json, Position, Subscribed, Subscription } from './api';
import { GatewayError, LocalCode } from './errors';
import type { Storage } from './storage';

const SAVE_AFTER = 1000;

/** What all calls on a channel have in common with the gateway's own. */
export interface Calls {
  publish(channel: string, data: Json): Promise<void>;
  presence(channel: string): Promise<any>;
  history(channel: string, options?: HistoryOptions): Promise<History>;
}

interface Kept extends Position {
  channel?: string;
}

/** Who made a listener. */
export interface Owner {
  leave(entry: Entry, listener: Listener): void;
  /** Run a handler of the app; what it throws is told, and stops nothing. */
  guard(handlers: Handlers, run: () => void | Promise<void>): Promise<boolean>;
}

/** One channel, and its listeners on this phone. */
export class Entry {
  listeners: Listener[] = [];
  position: Position | null = null;
  current: Subscribed | null = null;
  keep = false;
  /** It was subscribed to before, in this life. */
  begun = false;
  /** It was told that this channel loses what is missed. */
  warned = false;
  sub: CentrifugeSubscription | null = null;
  private timer: any = 0;
  private saved: Position | null = null;

  constructor(
    readonly name: string,
    private readonly storage: Storage,
  ) {}

  kept(): Kept | undefined {
    return this.storage.get('position.' + this.name);
  }

  /** Written at once, and then at most once a second: storage is slow. */
  moved(position: Position, channel: string): void {
    this.position = position;
    if (!this.keep || this.timer) return;
    this.save(channel);
    this.timer = setTimeout(() => {
      this.timer = 0;
      this.save(channel);
    }, SAVE_AFTER);
  }

  save(channel: string): void {
    if (!this.keep || !this.position || this.position === this.saved) return;
    this.saved = this.position;
    this.storage.set('position.' + this.name, { ...this.position, channel });
  }
}

export class Listener implements Subscription {
  private waiting: Array<{ resolve: (context: Subscribed) => void; reject: (error: GatewayError) => void }> = [];
  private ended: GatewayError | null = null;

  constructor(
    readonly handlers: Handlers,
    private readonly entry: Entry,
    private readonly owner: Owner,
    private readonly calls: Calls,
  ) {}

  get channel(): string {
    const { current, name } = this.entry;
    return current ? current.channel : name;
  }

  get position(): Position | null {
    return this.entry.position;
  }

  ready(): Promise<Subscribed> {
    if (this.ended) return Promise.reject(this.ended);
    const { current } = this.entry;
    if (current) return Promise.resolve(current);
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  publish(data: Json): Promise<void> {
    return this.calls.publish(this.channel, data);
  }

  presence(): Promise<any> {
    return this.calls.presence(this.channel);
  }

  history(options?: HistoryOptions): Promise<History> {
    return this.calls.history(this.channel, options);
  }

  unsubscribe(): void {
    if (this.ended) return;
    this.end(new GatewayError(LocalCode.ENDED, 'Unsubscribed by the app.'));
    this.owner.leave(this.entry, this);
  }

  begin(context: Subscribed): void {
    const waiting = this.waiting;
    this.waiting = [];
    waiting.forEach((each) => each.resolve(context));
    this.owner.guard(this.handlers, () => {
      if (this.handlers.subscribed) this.handlers.subscribed(context);
    });
    if (!context.wasRecovering || context.recovered) return;
    this.owner.guard(this.handlers, () => {
      if (this.handlers.gap) this.handlers.gap(context);
    });
  }

  end(error: GatewayError): void {
    this.ended = error;
    const waiting = this.waiting;
    this.waiting = [];
    waiting.forEach((each) => each.reject(error));
  }
}
