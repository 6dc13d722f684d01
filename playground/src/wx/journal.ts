// What goes over the wire, in words. A frame is kept as it is beside its words.

import { signal } from '@preact/signals';
import { bytes, shorten } from '../format';
import { type Word, word } from '../words';

export interface Entry {
  key: number;
  time: number;
  who: 'out' | 'in' | 'device';
  /** In the language of the moment when it is drawn. */
  say: () => string;
  /** The JSON, where there is some. */
  raw: string;
  /** Sent, and never arrived. */
  lost: boolean;
  /** How often the same came one after the other: pings do. */
  times: number;
  kind: string;
}

type Fields = Record<string, any>;
const KEPT = 300;
let keys = 0;

export class Journal {
  readonly entries = signal<Entry[]>([]);
  private readonly asked = new Map<number, { method: string; request: Fields }>();

  /** The phone does something that is no message. */
  phone(name: Word, values: Record<string, string | number> = {}): void {
    this.add('out', name, () => word(name, values));
  }

  /** The system does something. */
  device(name: Word): void {
    this.add('device', name, () => word(name));
  }

  /** The gateway answers something that is no message. */
  gateway(name: Word, values: Record<string, string | number> = {}): void {
    this.add('in', name, () => word(name, values));
  }

  outgoing(text: string, lost: boolean): void {
    for (const line of lines(text)) {
      const [method, request] = methodOf(line.json);
      if (line.json.id) this.asked.set(line.json.id, { method, request });
      this.add('out', method, () => command(method, request), line.raw, lost);
    }
  }

  incoming(text: string, lost: boolean): void {
    for (const line of lines(text)) {
      const asked = this.asked.get(line.json.id);
      if (line.json.id) this.asked.delete(line.json.id);
      this.add('in', kindOf(line.json), () => reply(line.json, asked?.method ?? '', asked?.request ?? {}), line.raw, lost);
    }
  }

  private add(who: Entry['who'], kind: string, say: () => string, raw = '', lost = false): void {
    const entries = this.entries.value;
    const last = entries.at(-1);
    const repeats = kind === 'ping' || kind === 'pong';
    if (repeats && last?.kind === kind && last.lost === lost) {
      this.entries.value = [...entries.slice(0, -1), { ...last, times: last.times + 1, time: Date.now() }];
      return;
    }
    keys += 1;
    const entry: Entry = { key: keys, time: Date.now(), who, say, raw, lost, times: 1, kind };
    this.entries.value = [...entries.slice(-KEPT + 1), entry];
  }
}

function lines(text: string): { raw: string; json: Fields }[] {
  return text
    .split('\n')
    .filter((line) => line.trim())
    .map((raw) => ({ raw: hideSecrets(raw), json: JSON.parse(raw) as Fields }));
}

/** People show this page to others, and a token is as good as its user. */
function hideSecrets(raw: string): string {
  return raw.replace(/("token":")([^"]{6})[^"]+"/g, '$1$2…"');
}

function methodOf(json: Fields): [string, Fields] {
  const [method, request] = Object.entries(json).find(([key]) => key !== 'id') ?? ['pong', {}];
  return [method, request as Fields];
}

function kindOf(json: Fields): string {
  return json.id || json.push ? 'message' : 'ping';
}

const name = (channel: unknown): string => shorten(String(channel), 20);

/** What a client asks, in words. */
export function command(method: string, request: Fields): string {
  const channel = name(request.channel);
  switch (method) {
    case 'connect': {
      const how = request.data?.code ? 'w_connect_code' : request.token ? 'w_connect_token' : 'w_connect';
      const known = Object.entries((request.subs ?? {}) as Record<string, Fields>);
      const places = known.map(([each, { offset = 0 }]) => word('w_since', { channel: name(each), offset }));
      return [word(how), ...places].join(word('w_between'));
    }
    case 'subscribe':
      return request.recover
        ? word('w_resubscribe', { channel, offset: request.offset ?? 0 })
        : word('w_subscribe', { channel });
    case 'rpc':
      return word('w_rpc', { method: request.method ?? '' });
    case 'unsubscribe':
      return word('w_unsubscribe', { channel });
    case 'publish':
      return word('w_publish', { channel });
    case 'presence':
      return word('w_presence', { channel });
    case 'presence_stats':
      return word('w_presence_stats', { channel });
    case 'history':
      return word('w_history', { channel });
    case 'refresh':
      return word('w_refresh');
    case 'sub_refresh':
      return word('w_sub_refresh', { channel });
    case 'send':
      return word('w_send');
    case 'pong':
      return word('w_pong');
    default:
      return method;
  }
}

/** What the gateway tells a client, in words, where no more is known of it than its kind. */
export function told(kind: string, { channel, reason = '', code = 0 }: Fields): string {
  const where = channel ? name(channel) : '';
  switch (kind) {
    case 'ping':
      return word('w_ping');
    case 'connect':
      return word('w_let_in');
    case 'subscribe':
      return channel ? word('w_subscribed_plain', { channel: where }) : word('w_answer', { method: kind });
    case 'pub':
      return word('w_pub_plain', { channel: where });
    case 'message':
      return word('w_message');
    case 'error':
      return word('w_error', { message: reason, code });
    case 'disconnect':
      return word('w_disconnect', { reason, code });
    case 'unsubscribe':
      return channel ? word('w_unsubscribed', { channel: where, reason }) : word('w_answer', { method: kind });
    case 'join':
    case 'leave':
      return `${kind} ${where}`;
    default:
      return word('w_answer', { method: kind });
  }
}

function subscription(channel: string, result: Fields): string {
  const publications = (result.publications ?? []) as Fields[];
  // The position in the answer is the one before what it brings.
  const offset = Math.max(result.offset ?? 0, publications.at(-1)?.offset ?? 0);
  const place = result.positioned || result.recoverable
    ? word('w_subscribed', { channel: name(channel), offset })
    : word('w_subscribed_plain', { channel: name(channel) });
  const missed = publications.length;
  const parts = [place];
  if (missed) parts.push(word('w_with_missed', { count: missed }));
  if (result.was_recovering && !result.recovered) parts.push(word('w_unrecovered'));
  return parts.join(word('w_between'));
}

function reply(json: Fields, asked: string, request: Fields): string {
  if (json.push) return push(json.push as Fields);
  if (json.error) return word('w_error', { message: json.error.message, code: json.error.code });
  if (json.connect) {
    const subs = Object.entries((json.connect.subs ?? {}) as Record<string, Fields>);
    const told = subs.map(([channel, result]) => subscription(channel, result));
    return [word(json.connect.data?.token ? 'w_let_in_as' : 'w_let_in'), ...told].join(word('w_between'));
  }
  if (json.subscribe) return subscription(request.channel ?? '', json.subscribe as Fields);
  if (json.id) return word('w_answer', { method: asked === 'rpc' ? String(request.method) : asked });
  return word('w_ping');
}

function push(body: Fields): string {
  const channel = name(body.channel);
  if (body.pub) {
    return body.pub.offset ? word('w_pub', { channel, offset: body.pub.offset }) : word('w_pub_plain', { channel });
  }
  if (body.message) return word('w_message');
  if (body.join) return word('w_join', { user: shorten(body.join.info.user || body.join.info.client), channel });
  if (body.leave) return word('w_leave', { user: shorten(body.leave.info.user || body.leave.info.client), channel });
  if (body.subscribe) return subscription(body.channel, body.subscribe as Fields);
  if (body.unsubscribe) return word('w_unsubscribed', { channel, reason: body.unsubscribe.reason });
  if (body.disconnect) return word('w_disconnect', { reason: body.disconnect.reason, code: body.disconnect.code });
  if (body.refresh) return word('w_refresh');
  return word('w_pushed', { kinds: Object.keys(body).join(', ') });
}

/** For an upload's line. */
export function sizeOf(blob: Blob): string {
  return bytes(blob.size);
}
