// What one client sends and gets, while it happens.

import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { DeskError, lines } from '../desk';
import { bytes, clock } from '../format';
import { useEnd } from '../parts/end';
import { word } from '../words';
import { command, told } from '../wx/journal';
import type { Connection } from './list';

const KEPT = 300;
/** How long one trace runs. */
const SECONDS = '300';

interface Event {
  at: number;
  /** Of the client: `in` is what it sends. Absent where the trace speaks of itself. */
  direction?: 'in' | 'out';
  kind: string;
  channel?: string;
  bytes?: number;
  code?: number;
  reason?: string;
  /** JSON, where it was asked for. */
  payload?: string;
}

function say({ direction, kind, ...fields }: Event): string {
  return direction === 'in' ? command(kind, fields) : told(kind, fields);
}

export function Trace({ connection }: { connection: Connection }) {
  const events = useSignal<Event[]>([]);
  const control = useSignal<AbortController | null>(null);
  const payloads = useSignal(false);
  const problem = useSignal('');
  const missing = useSignal(false);
  const { list, scrolled } = useEnd<HTMLOListElement>();
  useEffect(() => () => control.value?.abort(), []);

  const start = async (): Promise<void> => {
    const mine = new AbortController();
    control.value = mine;
    problem.value = '';
    events.value = [];
    const query = new URLSearchParams({ client: connection.client, seconds: SECONDS, ...(payloads.value && { payloads: 'true' }) });
    try {
      for await (const event of lines<Event>(`trace?${query}`, mine.signal)) {
        if (event.kind && event.kind !== 'begin') events.value = [...events.value.slice(-KEPT + 1), event];
      }
      problem.value = word('trace_ended');
    } catch (error) {
      if (error instanceof DeskError && error.status === 404) missing.value = true;
      else if (!mine.signal.aborted) problem.value = word('not_done', { reason: (error as Error).message });
    }
    if (control.value === mine) control.value = null;
  };
  const stop = (): void => {
    control.value?.abort();
    control.value = null;
  };
  if (missing.value) return null;
  const running = control.value !== null;
  return (
    <section class="trace" aria-labelledby="trace-title">
      <div class="row">
        <h3 id="trace-title">{word('trace')}</h3>
        <label class="switch">
          <input type="checkbox" checked={payloads.value} disabled={running} onChange={(event) => (payloads.value = event.currentTarget.checked)} />
          <span>{word('payloads')}</span>
        </label>
        <button type="button" class="quiet" onClick={() => (running ? stop() : void start())}>{word(running ? 'trace_stop' : 'trace_start')}</button>
      </div>
      {events.value.length === 0 ? <p class="hint">{word(running ? 'trace_empty' : 'trace_off')}</p> : (
        <ol class="wire" ref={list} onScroll={scrolled} tabIndex={0} aria-labelledby="trace-title">
          {events.value.map((event, index) => (
            !event.direction ? <li key={index} class="note">{event.kind}</li> : <li key={index} class={`line ${event.direction === 'in' ? 'out' : 'in'}`}>
              <div>
                <span class="who">{word(event.direction === 'in' ? 'client' : 'w_in')}</span>
                <span class="said">{say(event)}<em>{bytes(event.bytes ?? 0)}</em></span>
                <time>{clock(event.at)}</time>
              </div>
              {event.payload !== undefined && <pre>{event.payload}</pre>}
            </li>
          ))}
        </ol>
      )}
      <p class="outcome" role="status">{problem.value}</p>
    </section>
  );
}
