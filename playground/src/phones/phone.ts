// One simulated phone: a mini-program that uses the client library, and what it shows.

import { signal } from '@preact/signals';
import { createGateway, type Gateway, type GatewayFailure, type Publication, type State, type Subscribed } from '../library';
import type { Config } from '../desk';
import { word } from '../words';
import { Device } from '../wx/device';
import { Journal } from '../wx/journal';
import { createWx, Disk } from '../wx/wx';

const BACKGROUND_SECONDS = 6;
const KEPT = 200;
/** Milliseconds in which what was missed arrives after a subscription is back. */
const CATCHING_UP = 150;

export interface Message {
  key: number;
  channel: string;
  offset: number;
  data: unknown;
  recovered: boolean;
  /** The openid of the client that published; empty where the backend did. */
  from: string;
}

export interface Note {
  key: number;
  say: () => string;
}

export type Item = Message | Note;
let keys = 0;

export class Phone {
  readonly device = new Device();
  readonly journal = new Journal();
  readonly state = signal<State | 'starting'>('starting');
  readonly openid = signal('');
  /** The user's own channel. */
  readonly personal = signal('');
  /** Why it does not come back by itself. */
  readonly problem = signal('');
  readonly items = signal<Item[]>([]);
  /** Of the picture on its way; -1 where there is none. */
  readonly progress = signal(-1);
  private readonly disk = new Disk();
  private gateway: Gateway | null = null;
  private signedIn = false;
  private catchingUp = new Map<string, number>();
  /** Offset of the last message of each channel. */
  private readonly seen = new Map<string, number>();

  constructor(
    readonly name: string,
    private readonly config: Config,
  ) {
    this.open();
  }

  // ------------------------------------------------------------------ the mini-program
  /** Start the app, as a tap on its icon does. */
  open(): void {
    this.device.running.value = true;
    this.problem.value = '';
    this.state.value = 'starting';
    const sandbox = new URL('../sandbox/login', import.meta.url);
    const wx = createWx(this.device, this.disk, this.journal, sandbox, this.name.toLowerCase(), this.config.appid ?? '');
    const login = wx.login;
    wx.login = (options) => {
      this.signedIn = true;
      login(options);
    };
    const gateway = createGateway({
      url: this.config.websocket!,
      httpUrl: sandbox.origin,
      wx,
      hideDelay: 500,
      minReconnectDelay: 300,
      maxReconnectDelay: 5000,
    });
    this.gateway = gateway;
    this.listen(gateway);
    gateway.subscribe(this.config.channel!, {
      publication: (publication: Publication) => this.received(publication),
      subscribed: (context: Subscribed) => this.subscribed(context),
      error: (error: GatewayFailure) => this.note(() => error.message),
    }, { keep: true }); // an app that was killed goes on where it was
    gateway.connect().catch(() => undefined); // `disconnected` says why
  }

  private listen(gateway: Gateway): void {
    const mine = <A extends unknown[]>(action: (...values: A) => void) => (...values: A): void => {
      if (this.gateway === gateway) action(...values);
    };
    gateway.on('state', mine(({ state, previous }) => {
      if (previous === 'connected' && state === 'connecting') this.note(() => word('cut'));
      this.state.value = state;
    }));
    gateway.on('connected', mine(({ openid }) => {
      this.openid.value = openid ?? this.openid.value;
      const name = this.signedIn ? 'signed_in' : 'came_back';
      this.signedIn = false;
      this.note(() => word(name));
    }));
    gateway.on('disconnected', mine((error) => {
      this.problem.value = `${error.message} (${error.code})`;
    }));
    gateway.on('subscribed', mine((context) => {
      // Others may be of your backend's choosing.
      if (context.channel.startsWith(this.config.personal ?? '#')) this.personal.value = context.channel;
      this.subscribed(context);
    }));
    gateway.on('publication', mine((publication) => this.received(publication)));
    gateway.on('message', mine(({ data }) => {
      this.add({ key: 0, channel: '', offset: 0, data, recovered: false, from: '' });
    }));
  }

  private subscribed(context: Subscribed): void {
    if (!context.wasRecovering) return;
    if (!context.recovered) {
      this.seen.delete(context.channel);
      this.note(() => word('lost'));
      return;
    }
    this.catchingUp.set(context.channel, 0);
    setTimeout(() => {
      const count = this.catchingUp.get(context.channel) ?? 0;
      this.catchingUp.delete(context.channel);
      if (count) this.note(() => word('caught_up', { count }));
      else if (context.channel === this.config.channel) this.note(() => word('nothing_missed'));
    }, CATCHING_UP);
  }

  private received({ channel, offset, data, recovered, info }: Publication): void {
    const missed = this.catchingUp.get(channel);
    const upload = data as { type?: string; state?: string; name?: string } | null;
    if (upload?.type === 'upload' && channel === this.personal.value) {
      // The gateway tells the sender how far a file has come; the picture itself comes on its channel.
      if (upload.state === 'done') this.note(() => word('uploaded', { name: upload.name ?? '' }));
      return;
    }
    // What was kept of a position may be a second old: the app that was killed has had this one.
    if (offset && offset <= (this.seen.get(channel) ?? 0)) return;
    this.seen.set(channel, offset ?? 0);
    if (recovered && missed !== undefined) this.catchingUp.set(channel, missed + 1);
    this.add({ key: 0, channel, offset: offset ?? 0, data, recovered, from: info?.user ?? '' });
  }

  private note(say: () => string): void {
    this.add({ key: 0, say });
  }

  private add(item: Item): void {
    keys += 1;
    this.items.value = [...this.items.value.slice(-KEPT + 1), { ...item, key: keys }];
  }

  // ------------------------------------------------------------------ what its user does
  say(text: string): void {
    this.gateway?.publish(this.config.channel!, { text }).catch((error: GatewayFailure) => {
      this.note(() => word('not_sent', { reason: error.message }));
    });
  }

  async call(method: string, data: unknown): Promise<unknown> {
    return await this.gateway!.rpc(method, data as never);
  }

  async sendPicture(file: File): Promise<void> {
    this.progress.value = 0;
    try {
      await this.gateway!.upload({
        filePath: this.disk.put(file),
        name: file.name,
        channel: this.config.channel!,
        onProgress: ({ progress }) => {
          this.progress.value = progress;
        },
      });
    } catch (error) {
      this.note(() => word('upload_failed', { reason: (error as GatewayFailure).message }));
    } finally {
      this.progress.value = -1;
    }
  }

  /** The address of a picture in this browser, fetched as the phone fetches it. */
  async fetchPicture(id: string): Promise<string> {
    const { tempFilePath } = await this.gateway!.download({ id });
    return URL.createObjectURL(this.disk.files.get(tempFilePath)!);
  }

  signInAgain(): void {
    this.problem.value = '';
    this.gateway?.connect().catch(() => undefined);
  }

  // ------------------------------------------------------------------ what happens to it
  toBackground(): void {
    this.device.toBackground(BACKGROUND_SECONDS);
  }

  kill(): void {
    const gateway = this.gateway;
    this.gateway = null;
    this.device.kill();
    gateway?.disconnect();
    this.state.value = 'disconnected';
    this.note(() => word('was_killed'));
  }

  reopen(): void {
    this.note(() => word('was_opened'));
    this.open();
  }

  /** Thrown away. */
  remove(): void {
    const gateway = this.gateway;
    this.gateway = null;
    gateway?.disconnect();
    this.device.kill();
  }
}
