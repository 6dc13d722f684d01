/** Channels and who listens to them: pages come and go, the channel is subscribed to once. */

import type {
  Events,
  GatewayFailure,
  Handlers,
  Position,
  Presence,
  Publication,
  Subscribed,
  SubscribeOptions,
  Subscription,
} from './api';
import type { Acknowledgements } from './acknowledge';
import type { Connection } from './connection';
import type { Emitter } from './emitter';
import { GatewayError, LocalCode, asError } from './errors';
import { Entry, Listener } from './listeners';
import type { Calls, Owner } from './listeners';
import type { Storage } from './storage';

const ALREADY_SUBSCRIBED = 105;
const PERSONAL = 'personal';

export class Channels implements Owner {
  private readonly entries: { [channel: string]: Entry } = {};
  /** Channels that the gateway subscribed this user to, by what is known of them. */
  private readonly serverSide: { [channel: string]: Subscribed } = {};

  constructor(
    private readonly connection: Connection,
    private readonly storage: Storage,
    private readonly emitter: Emitter<Events>,
    private readonly acknowledgements: Acknowledgements,
    private readonly calls: Calls,
    private readonly openid: () => string | undefined,
    private readonly failed: (error: GatewayFailure) => void,
  ) {
    this.listen();
    connection.since = () => this.since();
  }

  subscribe(channel: string, given: Handlers | ((publication: Publication) => void), options: SubscribeOptions = {}): Subscription {
    const handlers: Handlers = typeof given === 'function' ? { publication: given } : given;
    const entry = this.entry(channel, options);
    if (this.serverSide[channel]) entry.current = this.serverSide[channel];
    else if (!entry.sub && !entry.listeners.length) this.open(entry, handlers, options);
    return this.join(entry, handlers);
  }

  personal(given: Handlers | ((publication: Publication) => void), options: SubscribeOptions = {}): Subscription {
    const handlers: Handlers = typeof given === 'function' ? { publication: given } : given;
    const entry = this.entry(PERSONAL, options);
    const known = Object.keys(this.serverSide).filter((channel) => this.isPersonal(channel))[0];
    if (known) entry.current = this.serverSide[known];
    return this.join(entry, handlers);
  }

  /** Write down what is in memory alone. */
  save(): void {
    this.each((entry) => entry.save(entry.current ? entry.current.channel : entry.name));
  }

  /** Another user comes next: their own channel is another. */
  forgetUser(): void {
    this.storage.remove('position.' + PERSONAL);
    const entry = this.entries[PERSONAL];
    if (entry) entry.position = entry.current = null;
  }

  leave(entry: Entry, listener: Listener): void {
    entry.listeners = entry.listeners.filter((each) => each !== listener);
    if (entry.listeners.length) return;
    entry.save(listener.channel);
    this.remove(entry);
  }

  /** Run a handler of the app; what it throws is told, and stops nothing. */
  guard(handlers: Handlers, run: () => void | Promise<void>): Promise<boolean> {
    const threw = (reason: any): boolean => {
      const error = new GatewayError(LocalCode.HANDLER, 'A handler of the app threw: ' + ((reason && reason.message) || String(reason)), reason, false);
      if (handlers.error) handlers.error(error);
      this.failed(error);
      return false;
    };
    try {
      const result = run();
      return result && typeof result.then === 'function' ? result.then(() => true, threw) : Promise.resolve(true);
    } catch (reason) {
      return Promise.resolve(threw(reason));
    }
  }

  // ---------------------------------------------------------------- entries
  private entry(name: string, options: SubscribeOptions): Entry {
    const entry = (this.entries[name] = this.entries[name] || new Entry(name, this.storage));
    entry.keep = entry.keep || Boolean(options.keep);
    if (!entry.position && !entry.listeners.length) entry.position = options.since || (entry.keep && entry.kept()) || null;
    return entry;
  }

  private join(entry: Entry, handlers: Handlers): Listener {
    const listener = new Listener(handlers, entry, this, this.calls);
    entry.listeners.push(listener);
    const { current } = entry;
    if (current) setTimeout(() => listener.begin({ ...current, wasRecovering: false, recovered: false }), 0);
    return listener;
  }

  private open(entry: Entry, handlers: Handlers, options: SubscribeOptions): void {
    const { client } = this.connection;
    const sub = client.newSubscription(entry.name, {
      since: entry.position,
      data: options.data === undefined ? null : options.data,
      token: options.token || '',
      recoverable: true,
      positioned: true,
      joinLeave: Boolean(handlers.join || handlers.leave),
    });
    entry.sub = sub;
    sub.on('publication', (context) => this.publication(entry, context));
    sub.on('subscribed', (context) => this.subscribed(entry, context));
    sub.on('subscribing', () => {
      entry.current = null;
    });
    sub.on('unsubscribed', (context) => this.unsubscribed(entry, context.code, context.reason));
    sub.on('join', (context) => this.presence(entry, 'join', context as Presence));
    sub.on('leave', (context) => this.presence(entry, 'leave', context as Presence));
    sub.on('error', (context) => this.problem(entry, asError(context.error)));
    sub.subscribe();
  }

  private remove(entry: Entry): void {
    if (this.entries[entry.name] === entry) delete this.entries[entry.name];
    const { sub } = entry;
    entry.sub = null;
    if (!sub) return;
    sub.removeAllListeners();
    sub.unsubscribe();
    this.connection.client.removeSubscription(sub);
  }

  private unsubscribed(entry: Entry, code: number, reason: string): void {
    if (code === ALREADY_SUBSCRIBED) {
      // The gateway did it before: what it sends there is heard all the same.
      const { sub } = entry;
      entry.sub = null;
      if (sub) this.connection.client.removeSubscription(sub);
      const context = this.serverSide[entry.name];
      if (context) this.begin(entry, context);
      return;
    }
    const error = new GatewayError(code, reason);
    const { listeners } = entry;
    this.remove(entry);
    listeners.forEach((listener) => {
      listener.end(error);
      this.guard(listener.handlers, () => {
        if (listener.handlers.unsubscribed) listener.handlers.unsubscribed({ channel: entry.name, code, reason });
      });
    });
  }

  // ---------------------------------------------------------------- what comes
  private listen(): void {
    const { client } = this.connection;
    client.on('publication', (context) => {
      const publication = this.make(context, this.serverSide[context.channel]);
      this.emitter.emit('publication', publication);
      const entries = this.of(context.channel);
      if (entries.length) entries.forEach((entry) => this.deliver(entry, publication));
      else this.acknowledgements.handled(publication, this.emitter.has('publication'));
    });
    client.on('subscribed', (context) => {
      const entries = this.of(context.channel);
      const subscribed = this.understood(context, Boolean(this.serverSide[context.channel]), entries);
      this.serverSide[context.channel] = subscribed;
      this.emitter.emit('subscribed', subscribed);
      if (subscribed.wasRecovering && !subscribed.recovered) this.emitter.emit('gap', subscribed);
      entries.forEach((entry) => this.begin(entry, subscribed));
    });
    client.on('subscribing', (context) => {
      this.of(context.channel).forEach((entry) => {
        entry.current = null;
      });
    });
    client.on('unsubscribed', (context) => {
      delete this.serverSide[context.channel];
      this.emitter.emit('unsubscribed', context);
      this.of(context.channel).forEach((entry) => this.unsubscribed(entry, 2000, 'the gateway unsubscribed this user'));
    });
    client.on('join', (context) => {
      this.emitter.emit('join', context as Presence);
      this.of(context.channel).forEach((entry) => this.presence(entry, 'join', context as Presence));
    });
    client.on('leave', (context) => {
      this.emitter.emit('leave', context as Presence);
      this.of(context.channel).forEach((entry) => this.presence(entry, 'leave', context as Presence));
    });
    client.on('message', (context) => this.emitter.emit('message', context));
  }

  /** Who listens to a channel of the gateway's choosing. */
  private of(channel: string): Entry[] {
    const found: Entry[] = [];
    const named = this.entries[channel];
    if (named && !named.sub) found.push(named);
    if (this.entries[PERSONAL] && this.isPersonal(channel)) found.push(this.entries[PERSONAL]);
    return found;
  }

  private isPersonal(channel: string): boolean {
    const openid = this.openid();
    if (!openid) return /(^|:)#/.test(channel); // a token of the team's own: the gateway knows whose it is
    const own = '#' + openid;
    return channel === own || (channel.length > own.length && channel.slice(-own.length - 1) === ':' + own);
  }

  private make(context: any, subscribed: Subscribed | null | undefined): Publication {
    const { channel, data, offset, info, tags } = context;
    const epoch = subscribed && subscribed.position ? subscribed.position.epoch : undefined;
    const recovered = this.connection.client.isRecovered(channel, offset);
    const publication: Publication = { channel, data, recovered };
    if (offset !== undefined) publication.offset = offset;
    if (offset !== undefined && epoch !== undefined) publication.epoch = epoch;
    if (info) publication.info = info;
    if (tags) publication.tags = tags;
    return publication;
  }

  private publication(entry: Entry, context: any): void {
    this.deliver(entry, this.make(context, entry.current));
  }

  private deliver(entry: Entry, publication: Publication): void {
    const again = this.acknowledgements.isKnown(publication);
    const handled = again
      ? [Promise.resolve(true)]
      : entry.listeners.slice().map((listener) =>
          this.guard(listener.handlers, () => {
            if (listener.handlers.publication) return listener.handlers.publication(publication);
          }),
        );
    const { offset, epoch } = publication;
    if (offset !== undefined && epoch !== undefined) entry.moved({ offset, epoch }, publication.channel);
    this.acknowledgements.after(publication, handled);
  }

  private subscribed(entry: Entry, context: any): void {
    this.begin(entry, this.understood(context, entry.begun, [entry]));
  }

  /** Without recovery centrifuge asks for nothing after the first time, and what was missed would be lost in silence. */
  private understood(context: any, again: boolean, entries: Entry[]): Subscribed {
    const subscribed = toSubscribed(context);
    if (context.recoverable) return subscribed;
    if (again || entries.some((entry) => Boolean(entry.position))) subscribed.wasRecovering = true;
    entries.forEach((entry) => {
      if (entry.warned || !(subscribed.wasRecovering || entry.keep)) return;
      entry.warned = true;
      const text = context.channel + ' keeps no recoverable history for clients, what is missed is lost: force_recovery, docs/channels.md';
      this.failed(new GatewayError(LocalCode.UNSUPPORTED, text));
    });
    return subscribed;
  }

  private begin(entry: Entry, context: Subscribed): void {
    entry.current = context;
    entry.begun = true;
    if (context.position) entry.moved(context.position, context.channel);
    entry.listeners.slice().forEach((listener) => listener.begin(context));
  }

  private presence(entry: Entry, event: 'join' | 'leave', context: Presence): void {
    entry.listeners.slice().forEach((listener) => {
      const handler = listener.handlers[event];
      if (handler) this.guard(listener.handlers, () => handler(context));
    });
  }

  private problem(entry: Entry, error: GatewayError): void {
    entry.listeners.slice().forEach((listener) => {
      const handler = listener.handlers.error;
      if (handler) this.guard({}, () => handler(error));
    });
  }

  // ---------------------------------------------------------------- where to go on
  /** For the first connect of this life: later centrifuge itself knows. */
  private since(): { [channel: string]: Position } {
    const result: { [channel: string]: Position } = {};
    const entry = this.entries[PERSONAL];
    const openid = this.openid();
    if (!entry || !entry.position || !openid) return result;
    const kept = entry.kept();
    const { offset, epoch } = entry.position;
    result[kept && kept.channel && this.isPersonal(kept.channel) ? kept.channel : '#' + openid] = { offset, epoch };
    return result;
  }

  private each(visit: (entry: Entry) => void): void {
    Object.keys(this.entries).forEach((name) => visit(this.entries[name]));
  }
}

function toSubscribed(context: any): Subscribed {
  const { channel, wasRecovering, recovered, streamPosition, data } = context;
  const result: Subscribed = { channel, wasRecovering, recovered };
  if (streamPosition) result.position = streamPosition;
  if (data !== undefined) result.data = data;
  return result;
}
