// The figures of the nodes over time: what the charts draw. Rates are made here, from two answers of a node.

import { computed, signal } from '@preact/signals';
import { ask, DeskError } from '../desk';

const EVERY = 2000;
/** Ten minutes. */
const KEPT = 300;
/** Seconds over which errors are counted together, to be told as so many a minute. */
const ERROR_WINDOW = 60;

export interface NodeStats {
  uid: string;
  name: string;
  version: string;
  at: number;
  uptime: number;
  draining: boolean;
  connections: number;
  users: number;
  subscriptions: number;
  channels: number;
  waiting_bytes: number;
  loop_lag: number;
  messages_in: number;
  messages_out: number;
  slow_consumers: number;
  errors: Record<string, number>;
  disconnects: Record<string, number>;
  latency: { samples: number; p50: number; p99: number } | null;
}

/** A node between two answers. Rates are a second. */
export interface Rates {
  stats: NodeStats;
  in: number;
  out: number;
}

/** One moment, all nodes that are looked at together. */
export interface Point {
  /** Unix seconds. */
  at: number;
  connections: number;
  users: number;
  subscriptions: number;
  in: number | null;
  out: number | null;
  p50: number | null;
  p99: number | null;
  waiting: number;
  lag: number;
  /** A minute, by code. */
  errors: Record<string, number>;
}

interface Moment {
  at: number;
  nodes: Map<string, Rates>;
}

/** Closes by which a client leaves of its own accord, the network does, or an operator wished it: no errors. */
const QUIET_CLOSES = new Set(['1000', '1001', '1005', '1006', '3000', '3001', '3011']);

export const nodes = signal<NodeStats[]>([]);
export const rates = signal<Map<string, Rates>>(new Map());
export const missing = signal<string[]>([]);
/** Why there are no new figures. */
export const problem = signal<Error | null>(null);
/** Uid of the node that is looked at; empty: all. */
export const chosen = signal('');
const moments = signal<Moment[]>([]);

export const points = computed<Point[]>(() => {
  const only = chosen.value;
  const all = moments.value;
  return all.map((moment, index) => pointOf(moment, windowStart(all, index), only));
});

function windowStart(all: Moment[], index: number): Moment | undefined {
  const from = all[index]!.at - ERROR_WINDOW;
  let start: Moment | undefined;
  for (let before = index - 1; before >= 0 && all[before]!.at >= from; before -= 1) start = all[before];
  return start;
}

function pointOf(moment: Moment, start: Moment | undefined, only: string): Point {
  const shown = [...moment.nodes.values()].filter(({ stats }) => !only || stats.uid === only);
  const sum = (value: (rates: Rates) => number): number => shown.reduce((total, each) => total + value(each), 0);
  const latencies = shown.flatMap(({ stats }) => (stats.latency ? [stats.latency] : []));
  const known = shown.some((each) => !Number.isNaN(each.in));
  const most = (values: number[]): number | null => (values.length ? Math.max(...values) : null);
  return {
    at: moment.at,
    connections: sum(({ stats }) => stats.connections),
    users: sum(({ stats }) => stats.users),
    subscriptions: sum(({ stats }) => stats.subscriptions),
    in: known ? sum((each) => each.in || 0) : null,
    out: known ? sum((each) => each.out || 0) : null,
    p50: most(latencies.map(({ p50 }) => p50)),
    p99: most(latencies.map(({ p99 }) => p99)),
    waiting: sum(({ stats }) => stats.waiting_bytes),
    lag: Math.max(0, ...shown.map(({ stats }) => stats.loop_lag)),
    errors: errorsOf(shown, start, moment.at),
  };
}

function errorsOf(shown: Rates[], start: Moment | undefined, at: number): Record<string, number> {
  const total: Record<string, number> = {};
  for (const { stats } of shown) {
    const before = start?.nodes.get(stats.uid)?.stats;
    if (!before || !start) continue;
    const minutes = Math.max(at - start.at, EVERY / 1000) / 60;
    for (const kind of ['errors', 'disconnects'] as const) {
      for (const [code, count] of Object.entries(stats[kind])) {
        if (kind === 'disconnects' && QUIET_CLOSES.has(code)) continue;
        const grown = count - (before[kind][code] ?? 0);
        // In a window that has only begun, one error is one and not sixty a minute.
        if (grown > 0) total[code] = (total[code] ?? 0) + grown / Math.max(minutes, 1);
      }
    }
  }
  return total;
}

function take(answer: { nodes: NodeStats[]; missing?: string[] }): void {
  const before = rates.value;
  const now = new Map<string, Rates>();
  for (const stats of answer.nodes) {
    const last = before.get(stats.uid)?.stats;
    const seconds = last ? (stats.at - last.at) / 1000 : 0;
    const known = before.get(stats.uid);
    if (last && seconds > 0) {
      now.set(stats.uid, {
        stats,
        in: Math.max(0, stats.messages_in - last.messages_in) / seconds,
        out: Math.max(0, stats.messages_out - last.messages_out) / seconds,
      });
    } else {
      now.set(stats.uid, known ? { ...known, stats } : { stats, in: NaN, out: NaN });
    }
  }
  rates.value = now;
  nodes.value = answer.nodes;
  missing.value = answer.missing ?? [];
  moments.value = [...moments.value.slice(-KEPT + 1), { at: Date.now() / 1000, nodes: now }];
}

/** Ask for the figures again and again; `expired` is called when the login has ended. */
export function watch(expired: () => void): () => void {
  let timer = 0;
  let ended = false;
  const round = async (): Promise<void> => {
    try {
      take(await ask('stats'));
      problem.value = null;
    } catch (error) {
      problem.value = error as Error;
      if (error instanceof DeskError && error.status === 401) expired();
    }
    if (!ended) timer = window.setTimeout(() => void round(), EVERY);
  };
  void round();
  return () => {
    ended = true;
    clearTimeout(timer);
  };
}
