/**
 * One socket for everything: when it is there, when it is let go, when it comes back, and when it does not.
 *
 * Recovery, commands and back-off are centrifuge's. Here is what it cannot know: the phone, the sign-in, and which
 * ends are final.
 */

import type { Connected, Disconnected, Json, Options, State, Traffic } from './api';
import { GatewayError, LocalCode, asError } from './errors';
import { Phone } from './phone';
import { Queue } from './queue';
import type { SignIn } from './signin';
import { socketClass } from './socket';
import { Wire } from './wire';
import type { WireHooks } from './wire';

/** Codes on which a token is forgotten and a sign-in is tried, once: it was no good. */
const REFUSED_TOKEN = [101, 3500];
const EXPIRED = 109;
/** Final by its range, but on a phone it only means that its code was suspended between two messages. */
const STALE = 3502;
const SIGNED_OUT = 4501;
const TOO_BUSY = 111;
const BLOCKED = 401;

export interface ConnectionEvents {
  state: (state: State, previous: State) => void;
  connecting: (context: Disconnected) => void;
  connected: (context: Connected) => void;
  disconnected: (error: GatewayError) => void;
  error: (error: GatewayError) => void;
  traffic: (traffic: Traffic) => void;
  /** The app is hidden, or let go: what is in memory alone may be lost. */
  save: () => void;
}

type Settings = Required<
  Pick<Options, 'wx' | 'hideDelay' | 'timeout' | 'probeTimeout' | 'pingDelay' | 'minReconnectDelay' | 'maxReconnectDelay' | 'offline' | 'queueLimit' | 'queueBytes' | 'queueTimeout' | 'reportVisibility'>
> &
  Pick<Options, 'appid' | 'data' | 'version'>;

export class Connection {
  readonly client: Wire;
  readonly phone: Phone;
  state: State = 'disconnected';
  /** Positions for channels of the gateway's choosing; set by who keeps them. */
  since: WireHooks['since'] = () => ({});
  private readonly queue: Queue;
  private readonly network = new NetworkTarget();
  private wanted = false;
  /** Let go because the app is hidden. */
  private paused = false;
  private hideTimer: any = 0;
  private frames = 0;
  /** The connect of this attempt; null before it, and once its end was told. */
  private sent: { token?: string; data?: any } | null = null;
  private triedAgain = false;
  /** What wx said of a socket that did not open. */
  private unopened: any;
  /** What centrifuge tells again as a text of its own. */
  private signInFailed: GatewayError | null = null;
  /** Why the library itself ends the connection. */
  private ending: GatewayError | null = null;
  private last: Connected | null = null;
  private waiting: Array<{ resolve: (context: Connected) => void; reject: (error: GatewayError) => void }> = [];

  constructor(
    private readonly url: string,
    private readonly settings: Settings,
    private readonly signIn: SignIn,
    private readonly events: ConnectionEvents,
  ) {
    const { wx, timeout, pingDelay, minReconnectDelay, maxReconnectDelay } = settings;
    this.queue = new Queue({ calls: settings.queueLimit, bytes: settings.queueBytes, time: settings.queueTimeout });
    const traffic = (direction: Traffic['direction'], text: string) =>
      events.traffic({ direction, text, time: Date.now() });
    this.client = new Wire(
      url,
      {
        websocket: socketClass({ wx, timeout, traffic, unopened: (reason) => (this.unopened = reason), abandoned: { count: 0 } }),
        token: signIn.token,
        getToken: () => this.getToken(),
        getData: () => this.getData(),
        name: 'wx-gateway',
        version: settings.version || '',
        networkEventTarget: this.network as any,
        pageEventTarget: new NetworkTarget() as any,
        timeout,
        maxServerPingDelay: pingDelay,
        minReconnectDelay,
        maxReconnectDelay,
      },
      {
        connectSent: (connect) => this.connectSent(connect),
        since: () => this.since(),
        heard: () => {
          this.frames++;
        },
      },
    );
    this.listen();
    this.phone = new Phone(wx, {
      hidden: () => this.hidden(),
      shown: (milliseconds) => this.shown(milliseconds),
      offline: () => this.network.fire('offline'),
      online: () => this.network.fire('online'),
      switched: () => this.renew(),
      doubtful: () => this.probe(),
      closed: () => {
        if (this.state === 'connected') this.probe(); // otherwise each failed attempt would cut its own back-off short
      },
    });
  }

  get calls(): number {
    return this.queue.length;
  }

  // ---------------------------------------------------------------- what the app says
  connect(): Promise<Connected> {
    const blocked = this.signIn.isBlocked();
    if (blocked) return Promise.reject(blocked);
    if (this.state === 'connected' && this.last) return Promise.resolve(this.last);
    const promise = new Promise<Connected>((resolve, reject) => this.waiting.push({ resolve, reject }));
    this.wanted = true;
    this.triedAgain = false;
    if (this.phone.isHidden) this.pause();
    else this.client.connect();
    return promise;
  }

  disconnect(): void {
    this.end(new GatewayError(LocalCode.ENDED, 'Ended by the app: call connect() to come back.'));
  }

  /** A command, now or when there is a connection. `size`: bytes that it keeps while it waits. */
  call<T>(run: () => Promise<T>, size = 0, offline: 'queue' | 'refuse' = this.settings.offline): Promise<T> {
    if (this.state === 'connected') return this.watched(run);
    if (!this.wanted) {
      return Promise.reject(new GatewayError(LocalCode.OFFLINE, 'Not connected: call connect() first.', undefined, false));
    }
    if (offline === 'refuse') {
      return Promise.reject(new GatewayError(LocalCode.OFFLINE, 'Not connected: try again when the connection is back.'));
    }
    return this.queue.add(() => this.watched(run), size);
  }

  /** A token from elsewhere (HTTP) is there: use it from the next connect on. */
  setToken(token: string): void {
    this.client.setToken(token);
  }

  // ---------------------------------------------------------------- sign-in, as centrifuge asks for it
  private getToken(): Promise<string> {
    // Of a connection that lives, the token is good: the gateway moves its end on. Otherwise there is none, or it
    // was refused, and is forgotten by now.
    if (this.signIn.isOwn) {
      return this.signIn.ownToken().catch((reason) => {
        throw (this.signInFailed = asError(reason));
      });
    }
    const token = () => this.signIn.token;
    return this.signIn.overHttp ? this.signIn.overHttp.then(token, token) : Promise.resolve(token());
  }

  private getData(): Promise<any> {
    const data = this.settings.data;
    // centrifuge's own may be an old one: signed in by HTTP meanwhile, or signed out.
    this.client.setToken(this.signIn.token);
    if (this.signIn.isOwn || this.signIn.token) return Promise.resolve(data || null);
    return this.signIn.freshCode().then(
      (code) => {
        const result: { [key: string]: Json } = { ...data, code };
        if (this.settings.appid) result.appid = this.settings.appid;
        return result;
      },
      (reason) => {
        const error = asError(reason);
        this.signInFailed = error;
        if (!error.temporary) this.end(error); // aborts this attempt
        throw error;
      },
    );
  }

  private connectSent(connect: { token?: string; data?: any }): void {
    this.sent = connect;
    if (connect.data && connect.data.code) this.signIn.codeSent(connect.data.code);
  }

  // ---------------------------------------------------------------- what centrifuge says
  private listen(): void {
    this.client.on('connecting', (context) => {
      this.setState('connecting');
      this.events.connecting(context);
    });
    this.client.on('connected', (context) => this.connected(context));
    this.client.on('disconnected', (context) => this.disconnected(context));
    this.client.on('error', (context) => this.failed(context));
  }

  private connected(context: { client: string; data?: any }): void {
    this.triedAgain = false;
    this.signIn.accepted(context.data);
    if (this.signIn.token) this.client.setToken(this.signIn.token);
    const { openid, unionid } = this.signIn;
    this.last = { client: context.client, openid, unionid, data: context.data };
    this.setState('connected');
    this.events.connected(this.last);
    const waiting = this.waiting;
    this.waiting = [];
    waiting.forEach((each) => each.resolve(this.last as Connected));
    this.queue.flush();
  }

  /** An attempt failed, and there will be another: only what the next one has to know. */
  private failed(context: { type: string; error: { code: number; message: string } }): void {
    const { type, error } = context;
    if (type === 'connect') return this.connectFailed(error);
    const own = type === 'connectToken' || type === 'connectData' ? this.signInFailed : null;
    this.signInFailed = null;
    this.events.error(type === 'transport' ? this.unreachable(error.message) : own || asError(error, LocalCode.NETWORK));
  }

  private connectFailed(error: { code: number; message: string }): void {
    const { sent } = this;
    if (!sent) return; // of an attempt whose end was told
    this.sent = null;
    if (error.code < 100) return this.events.error(this.unreachable(error.message));
    if (error.code === TOO_BUSY && !sent.token) this.signIn.codeUnspent();
    if (error.code === EXPIRED) this.refused(sent);
    this.events.error(asError(error));
    if (error.code !== EXPIRED || this.triedAgain || this.client.state !== 'connecting') return;
    this.triedAgain = true;
    this.renew(); // it answers, and a new code or token is at hand: only what is refused again has to wait
  }

  /** Nothing of the app's was sent. */
  private unreachable(otherwise: string): GatewayError {
    const reason = this.unopened;
    this.unopened = null;
    const said = (reason && (reason.errMsg || reason.message)) || otherwise;
    const text = 'Cannot reach ' + this.url + ': ' + said + '. Is the gateway running, and the domain on the list?';
    return new GatewayError(LocalCode.NETWORK, text, reason);
  }

  private refused(sent: { token?: string }): void {
    if (sent.token) this.signIn.refused(sent.token);
    else this.signIn.codeRefused();
  }

  /** centrifuge will not come back by itself. */
  private disconnected(context: Disconnected): void {
    if (this.paused) return this.setState('background');
    if (this.ending) return this.final(this.ending);
    const { sent } = this;
    this.sent = null;
    if (sent && REFUSED_TOKEN.indexOf(context.code) >= 0 && !this.triedAgain) {
      this.triedAgain = true;
      this.refused(sent);
      this.client.setToken('');
      return this.client.connect();
    }
    if (context.code === STALE) return this.client.connect();
    const error = new GatewayError(context.code, context.reason);
    if (context.code === BLOCKED) this.signIn.block(error);
    if (context.code === SIGNED_OUT) this.signIn.forget();
    this.final(error);
  }

  private end(error: GatewayError): void {
    this.ending = error;
    this.paused = false;
    clearTimeout(this.hideTimer);
    if (this.client.state === 'disconnected') this.final(error);
    else this.client.disconnect();
  }

  private final(error: GatewayError): void {
    this.ending = null;
    const there = this.wanted;
    this.wanted = false;
    this.setState('disconnected');
    this.events.save();
    this.queue.fail(error);
    const waiting = this.waiting;
    this.waiting = [];
    waiting.forEach((each) => each.reject(error));
    if (there) this.events.disconnected(error);
  }

  private setState(state: State): void {
    const previous = this.state;
    if (state === previous) return;
    this.state = state;
    this.events.state(state, previous);
  }

  // ---------------------------------------------------------------- what the phone does
  private hidden(): void {
    this.events.save();
    if (!this.wanted) return;
    if (this.settings.reportVisibility && this.state === 'connected') this.report('gateway.hide');
    this.hideTimer = setTimeout(() => this.pause(), this.settings.hideDelay);
  }

  /** Let go cleanly, before WeChat cuts the socket without a word. */
  private pause(): void {
    if (this.paused || !this.wanted) return;
    this.paused = true;
    this.events.save();
    this.client.disconnect();
    this.setState('background');
  }

  private shown(milliseconds: number): void {
    clearTimeout(this.hideTimer);
    if (!this.wanted) return;
    if (this.paused) {
      this.paused = false;
      this.client.connect();
    } else if (milliseconds > this.settings.hideDelay) {
      this.renew(); // the timer did not run: our code was suspended, and the socket is dead
    } else {
      this.probe();
    }
  }

  /** Drop the socket, and open another at once. */
  private renew(): void {
    this.network.fire('offline');
    this.network.fire('online');
  }

  /** Does the connection live? Anything that comes says yes, also an error. */
  private probe(): void {
    if (this.state !== 'connected') return this.network.fire('online');
    const { last, frames } = this;
    this.report('gateway.show');
    setTimeout(() => {
      if (this.state === 'connected' && this.last === last && this.frames === frames) this.renew();
    }, this.settings.probeTimeout);
  }

  private report(method: string): void {
    this.client.rpc(method, {}).then(undefined, () => undefined); // older gateways know no such method: 104, 108
  }

  /** A call that times out while nothing at all came is the sign of a socket that is half open. */
  private watched<T>(run: () => Promise<T>): Promise<T> {
    const { last, frames } = this;
    return run().then(undefined, (reason) => {
      const error = asError(reason);
      if (error.code === LocalCode.TIMEOUT && this.last === last && this.frames === frames) this.renew();
      throw error;
    });
  }
}

/** What centrifuge listens to for the network. */
class NetworkTarget {
  private listeners: Array<{ event: string; listener: () => void }> = [];

  addEventListener(event: string, listener: () => void): void {
    this.listeners.push({ event, listener });
  }

  removeEventListener(event: string, listener: () => void): void {
    this.listeners = this.listeners.filter((each) => each.event !== event || each.listener !== listener);
  }

  fire(event: string): void {
    this.listeners.slice().forEach((each) => {
      if (each.event === event) each.listener();
    });
  }
}
