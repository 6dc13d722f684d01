// The list of connections, with search; one of them opens beside it.

import { signal, useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { DeskError, knows } from '../desk';
import { age, bytes, count, shorten } from '../format';
import { Icon } from '../parts/icons';
import { now } from '../parts/now';
import { rowClick } from '../parts/row';
import { word } from '../words';
import { BlockedList } from './BlockedList';
import { type Connection, find, type Found } from './list';

const EVERY = 3000;
const PAGE = 50;
/** What the gateway gives at once; beyond that, searching is quicker than scrolling. */
const MOST = 500;
const TYPING = 250;

/** The connection that is looked at. */
export const opened = signal<Connection | null>(null);

export function ConnectionsView() {
  const search = useSignal('');
  const slow = useSignal(false);
  const found = useSignal<Found | null>(null);
  const problem = useSignal('');
  const limit = useSignal(PAGE);

  useEffect(() => {
    let ended = false;
    const look = async (): Promise<void> => {
      try {
        const answer = await find({ search: search.value.trim(), slow: slow.value, limit: limit.value });
        if (!ended) found.value = answer;
        problem.value = '';
      } catch (error) {
        // That nobody answers is said above, for all views.
        problem.value = error instanceof DeskError && error.status === 0 ? '' : (error as Error).message;
      }
    };
    const first = setTimeout(() => void look(), TYPING);
    const timer = setInterval(() => void look(), EVERY);
    return () => {
      ended = true;
      clearTimeout(first);
      clearInterval(timer);
    };
  }, [search.value, slow.value, limit.value]);

  const total = found.value?.total ?? 0;
  return (
    <section class="connections-view" aria-label={word('connections')}>
      <div class="toolbar">
        <label class="search">
          <Icon name="search" />
          <input
            type="search" value={search.value} placeholder={word('search_hint')} aria-label={word('search')} maxLength={200}
            autocomplete="off" spellcheck={false} onInput={(event) => (search.value = event.currentTarget.value)}
          />
        </label>
        <label class="switch">
          <input type="checkbox" checked={slow.value} onChange={(event) => (slow.value = event.currentTarget.checked)} />
          <span>{word('slow_first')}</span>
        </label>
        <span class="total" role="status">{found.value && word('found', { count: total })}</span>
      </div>
      {problem.value && <p class="banner" role="alert">{word('not_done', { reason: problem.value })}</p>}
      <Table found={found.value} />
      {found.value && found.value.connections.length < Math.min(total, MOST) && (
        <button type="button" class="quiet more" onClick={() => (limit.value += PAGE)}>{word('more')}</button>
      )}
      {knows('blocked_users') && <BlockedList search={search.value.trim()} />}
    </section>
  );
}

function Table({ found }: { found: Found | null }) {
  if (!found) return <p class="hint">{word('collecting')}</p>;
  if (!found.connections.length) return <p class="hint">{word('none_found')}</p>;
  return (
    <div class="card scroller cards" tabIndex={0} role="region" aria-label={word('connections')}>
      <table>
        <thead>
          <tr>
            <th scope="col">{word('user')}</th><th scope="col">{word('client')}</th><th scope="col">{word('sdk')}</th>
            <th scope="col">{word('ip')}</th><th scope="col">{word('channels')}</th><th scope="col">{word('since')}</th>
            <th scope="col">{word('waiting')}</th>
          </tr>
        </thead>
        <tbody>
          {found.connections.map((each) => (
            <tr key={each.client} class={opened.value?.client === each.client ? 'opens chosen' : 'opens'} onClick={rowClick(() => (opened.value = each))}>
              <th scope="row"><button type="button" class="link">{shorten(each.user || word('anonymous'), 20)}</button></th>
              <td data-label={word('client')}><code>{each.client.slice(0, 8)}</code></td>
              <td data-label={word('sdk')}>{[each.name, each.version].filter(Boolean).join(' ') || '–'}</td>
              <td data-label={word('ip')}>{each.ip}</td>
              <td data-label={word('channels')}>{count(each.num_channels)}</td>
              <td data-label={word('since')}>{age((now.value - each.connected_at) / 1000)}</td>
              <td data-label={word('waiting')} class={each.waiting_bytes > 65536 ? 'bad' : ''}>{bytes(each.waiting_bytes)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
