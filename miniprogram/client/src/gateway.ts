/** The rooms joined: what `createGateway` gives. */

import type {
  Callbacks,
  CallOptions,
  ClientInfo,
  Connected,
  DownloadOptions,
  Downloaded,
  EncryptedData,
  Events,
  Gateway,
  Granted,
  Handlers,
  History,
  HistoryOptions,
  Json,
  Options,
  PhoneNumber,
  Platform,
  Publication,
  State,
  StoredFile,
  SubscribeOptions,
  Subscription,
  Transfer,
  UploadOptions,
  UserInfo,
} from './api';
import { Acknowledgements } from './acknowledge';
import { tell } from './callbacks';
import { Channels } from './channels';
import { Connection } from './connection';
import { Emitter } from './emitter';
import { GatewayError, LocalCode, asError } from './errors';
import { Http } from './http';
import { OpenData } from './opendata';
import { SignIn } from './signin';
import { Storage } from './storage';
import { Transfers } from './transfers';

declare const wx: Platform | undefined;

const MB = 1024 * 1024;
const PATH = '/connection/websocket';

/** Of a message on its way, in characters of JSON: what it keeps while it waits. */
function size(data: unknown): number {
  return (JSON.stringify(data) || '').length;
}

export class GatewayClient implements Gateway {
  private readonly connection: Connection;
  private readonly channels: Channels;
  private readonly http: Http;
  private readonly transfers: Transfers;
  private readonly open: OpenData;
  private readonly signIn: SignIn;
  private readonly acknowledgements: Acknowledgements;
  private readonly emitter = new Emitter<Events & { [event: string]: any }>((event, reason) => this.threw(event, reason));

  constructor(private readonly options: Options) {
    const platform = options.wx || (typeof wx === 'undefined' ? undefined : wx);
    if (!platform || typeof platform.connectSocket !== 'function') {
      throw new GatewayError(LocalCode.UNSUPPORTED, 'There is no wx here: give createGateway one, as { wx: Taro } or { wx: uni }.');
    }
    const url = socketUrl(options.url);
    const prefix = options.storageKey || 'wx-gateway';
    const storage = new Storage(platform, prefix, (reason) => this.failed(asError(reason, LocalCode.UNSUPPORTED, 'Storage failed')));
    this.signIn = new SignIn({ wx: platform, appid: options.appid, getToken: options.getToken }, storage);
    this.connection = new Connection(url, { ...defaults(options), wx: platform }, this.signIn, {
      state: (state, previous) => this.emitter.emit('state', { state, previous }),
      connecting: (context) => this.emitter.emit('connecting', context),
      connected: (context) => {
        this.acknowledgements.connected();
        this.emitter.emit('connected', context);
      },
      disconnected: (error) => this.emitter.emit('disconnected', error),
      error: (error) => this.failed(error),
      traffic: (traffic) => {
        if (options.onTraffic) options.onTraffic(traffic);
        this.emitter.emit('traffic', traffic);
      },
      save: () => this.channels.save(),
    });
    this.acknowledgements = new Acknowledgements(() => this.connection, Boolean(options.acknowledge));
    this.channels = new Channels(
      this.connection,
      storage,
      this.emitter,
      this.acknowledgements,
      this,
      () => this.openid,
      (error) => this.failed(error as GatewayError),
    );
    this.http = new Http(
      { wx: platform, url: httpUrl(options.httpUrl, url), attempts: options.attempts || 4, visible: () => this.connection.phone.visible() },
      () => ({ token: () => this.token(), refused: (token) => this.signIn.refused(token) }),
    );
    this.transfers = new Transfers(
      this.http,
      { wx: platform, resumableFrom: options.resumableFrom || 10 * MB, pieceSize: options.pieceSize || MB },
      storage,
    );
    this.open = new OpenData(this.http, platform, () => this.signInAnew());
  }

  get state(): State {
    return this.connection.state;
  }

  get openid(): string | undefined {
    return this.signIn.openid;
  }

  get waiting(): number {
    return this.connection.calls;
  }

  // ---------------------------------------------------------------- the connection
  connect(callbacks?: Callbacks<Connected>): Promise<Connected> {
    const connected = this.connection.connect();
    connected.then(undefined, () => undefined); // who does not look at the promise listens to "disconnected"
    return tell(connected, callbacks);
  }

  disconnect(): void {
    this.connection.disconnect();
  }

  on<E extends keyof Events>(event: E, listener: Events[E]): void {
    this.emitter.on(event, listener);
  }

  off<E extends keyof Events>(event: E, listener?: Events[E]): void {
    this.emitter.off(event, listener);
  }

  // ---------------------------------------------------------------- channels
  subscribe(channel: string, handlers: Handlers | ((publication: Publication) => void), options?: SubscribeOptions): Subscription {
    return this.channels.subscribe(channel, handlers, options);
  }

  personal(handlers: Handlers | ((publication: Publication) => void), options?: SubscribeOptions): Subscription {
    return this.channels.personal(handlers, options);
  }

  publish(first: string | ({ channel: string; data: Json } & CallOptions & Callbacks<void>), data?: Json, options?: CallOptions): Promise<void> {
    const given = typeof first === 'string' ? { channel: first, data: data as Json, ...options } : first;
    const run = () => this.connection.client.publish(given.channel, given.data).then(() => undefined);
    return tell(this.connection.call(run, size(given.data), given.offline), callbacksOf(first));
  }

  rpc(first: string | ({ method: string; data?: Json } & CallOptions & Callbacks<any>), data?: Json, options?: CallOptions): Promise<any> {
    const given = typeof first === 'string' ? { method: first, data, ...options } : first;
    const body = given.data === undefined ? null : given.data;
    const run = () => this.connection.client.rpc(given.method, body).then((result) => result.data);
    return tell(this.connection.call(run, size(body), given.offline), callbacksOf(first));
  }

  presence(first: string | ({ channel: string } & Callbacks<any>)): Promise<{ [client: string]: ClientInfo }> {
    const channel = typeof first === 'string' ? first : first.channel;
    const run = () => this.connection.client.presence(channel).then((result) => result.clients);
    return tell(this.connection.call(run), callbacksOf(first));
  }

  presenceStats(channel: string): Promise<{ numClients: number; numUsers: number }> {
    return this.connection.call(() => this.connection.client.presenceStats(channel));
  }

  history(first: string | ({ channel: string } & HistoryOptions & Callbacks<History>), options?: HistoryOptions): Promise<History> {
    const given = typeof first === 'string' ? { channel: first, ...options } : first;
    const { channel, limit, since, reverse } = given;
    const wanted: HistoryOptions = { limit: limit === undefined ? 100 : limit };
    if (since) wanted.since = since;
    if (reverse) wanted.reverse = true;
    const run = () =>
      this.connection.client.history(channel, wanted).then(({ offset, epoch, publications }) => ({
        offset,
        epoch,
        publications: publications.map((each) => ({ ...each, channel, epoch, recovered: false })),
      }));
    return tell(this.connection.call(run), callbacksOf(first));
  }

  // ---------------------------------------------------------------- files
  upload(options: UploadOptions): Transfer<StoredFile> {
    return this.transfers.upload(options);
  }

  download(options: DownloadOptions): Transfer<Downloaded> {
    return this.transfers.download(options);
  }

  link(id: string, expiresIn?: string | number): Promise<string> {
    return this.transfers.link(id, expiresIn);
  }

  // ---------------------------------------------------------------- open data
  decrypt(options: EncryptedData & Callbacks<UserInfo>): Promise<UserInfo> {
    return tell(this.open.decrypt(options), options);
  }

  openData(fetch?: () => Promise<EncryptedData>): Promise<UserInfo> {
    return this.open.openData(fetch);
  }

  getPhoneNumber(options: ({ code: string } | { detail: { code?: string; errMsg?: string } }) & Callbacks<PhoneNumber>): Promise<PhoneNumber> {
    return tell(this.open.phone(options), options);
  }

  requestSubscribeMessage(first: string[] | ({ tmplIds: string[] } & Callbacks<Granted>)): Promise<Granted> {
    const ids = Array.isArray(first) ? first : first.tmplIds;
    const asked = this.open.ask(ids).then((granted) => {
      const templates: { [id: string]: string } = {};
      Object.keys(granted).forEach((id) => {
        templates[id] = granted[id] === 'filter' ? 'reject' : granted[id];
      });
      // Told when there is a connection; a gateway without it has nothing to send either.
      this.rpc('gateway.granted', { templates }).then(undefined, () => undefined);
      return granted;
    });
    return tell(asked, Array.isArray(first) ? undefined : first);
  }

  // ---------------------------------------------------------------- sign-in
  token(): Promise<string> {
    if (this.signIn.token) return Promise.resolve(this.signIn.token);
    if (this.signIn.isOwn) return this.signIn.ownToken();
    return this.signInAnew();
  }

  signOut(callbacks?: Callbacks<void>): Promise<void> {
    const token = this.signIn.token;
    const forget = () => {
      this.signIn.forgetUser();
      this.connection.setToken('');
      this.connection.disconnect();
      this.channels.forgetUser();
    };
    const told = token && !this.signIn.isOwn
      ? this.http.once('POST', '/wx/logout', {}, { Authorization: 'Bearer ' + token }).then(undefined, (error: GatewayError) => {
          if (error.code !== 109 && error.code !== 101) throw error; // it had ended before
        })
      : Promise.resolve();
    // The phone forgets in any case; a gateway that could not be told ends the session by itself in time.
    const done = told.then(
      () => forget(),
      (error) => {
        forget();
        throw error;
      },
    );
    return tell(done, callbacks);
  }

  /** With a new code, by the socket where that is at it already. */
  private signInAnew(): Promise<string> {
    const bySocket = this.state === 'connecting' && !this.signIn.token && !this.signIn.overHttp;
    return bySocket ? this.tokenOfSocket() : this.signInOverHttp();
  }

  /** The socket is signing in: its token is everybody's. Where it does not come, HTTP asks for one. */
  private tokenOfSocket(): Promise<string> {
    return new Promise<string>((resolve) => {
      const look = () => {
        if (this.state === 'connecting' && !this.signIn.token) return;
        clearTimeout(timer);
        this.off('state', look);
        resolve(this.signIn.token);
      };
      const timer = setTimeout(() => {
        this.off('state', look);
        resolve('');
      }, 2 * (this.options.timeout || 5000));
      this.on('state', look);
    }).then((token) => token || this.signInOverHttp());
  }

  /** Also where there is a token: its session key may be stale. One at a time. */
  private signInOverHttp(): Promise<string> {
    const under = this.signIn.overHttp as Promise<string> | null;
    if (under) return under;
    const signingIn = this.signIn
      .freshCode()
      .then((code) => {
        this.signIn.codeSent(code);
        const body: { [key: string]: string } = { code };
        if (this.options.appid) body.appid = this.options.appid;
        return this.http.once('POST', '/wx/login', body);
      })
      .then(
        (answer) => {
          this.signIn.accepted(answer.body);
          this.connection.setToken(answer.body.token);
          return answer.body.token as string;
        },
        (reason) => {
          const error = asError(reason);
          if (error.code === 109) this.signIn.codeRefused();
          if (error.code === 401) this.signIn.block(error);
          throw error;
        },
      );
    this.signIn.overHttp = signingIn;
    const done = () => {
      this.signIn.overHttp = null;
    };
    signingIn.then(done, done);
    return signingIn;
  }

  // ---------------------------------------------------------------- what went wrong
  private failed(error: GatewayError): void {
    this.emitter.emit('error', error);
  }

  /** A listener of the app. One of `error` has nobody to be told to but the console. */
  private threw(event: string, reason: any): void {
    const said = (reason && reason.message) || String(reason);
    if (event !== 'error') this.failed(new GatewayError(LocalCode.HANDLER, 'A listener of the app threw: ' + said, reason, false));
    else if (typeof console !== 'undefined') console.warn('wx-gateway: a listener of "error" threw:', reason);
  }
}

function callbacksOf(first: any): Callbacks<any> | undefined {
  return typeof first === 'string' ? undefined : first;
}

function defaults(options: Options) {
  return {
    appid: options.appid,
    data: options.data,
    version: options.version,
    offline: options.offline || 'queue',
    queueLimit: or(options.queueLimit, 100),
    queueBytes: or(options.queueBytes, 256 * 1024),
    queueTimeout: or(options.queueTimeout, 60000),
    hideDelay: or(options.hideDelay, 3000),
    timeout: or(options.timeout, 5000),
    probeTimeout: or(options.probeTimeout, 3000),
    pingDelay: or(options.pingDelay, 10000),
    minReconnectDelay: or(options.minReconnectDelay, 500),
    maxReconnectDelay: or(options.maxReconnectDelay, 20000),
    reportVisibility: Boolean(options.reportVisibility),
  };
}

function or(value: number | undefined, otherwise: number): number {
  return value === undefined ? otherwise : value;
}

/** With the path that the gateway listens on, where there is none. */
export function socketUrl(url: string): string {
  const found = /^(wss?:\/\/[^/?#]+)(\/[^?#]*)?(\?[^#]*)?$/.exec(url || '');
  if (!found) {
    throw new GatewayError(107, 'url is the address of the socket, as wss://api.example.com', undefined, false);
  }
  const [, host, path, query] = found;
  return host + (path && path !== '/' ? path : PATH) + (query || '');
}

/** Without a slash at the end. */
export function httpUrl(given: string | undefined, socket: string): string {
  const url = given || socket.replace(/^ws/, 'http').replace(/^(https?:\/\/[^/]+).*$/, '$1');
  return url.replace(/\/+$/, '');
}
