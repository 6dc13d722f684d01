// One connection: what is known of it, its trace, and what can be done to it.

import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { ask, knows } from '../desk';
import { age, bytes, count } from '../format';
import { Icon } from '../parts/icons';
import { now } from '../parts/now';
import { word } from '../words';
import { block as blockUser, unblock as unblockUser } from './blocked';
import { opened } from './ConnectionsView';
import { type Connection, find } from './list';
import { Trace } from './Trace';

const HOUR = 3600;
const EVERY = 3000;
/** A code with which clients come back: who is to stay away is blocked. */
const COME_BACK = { code: 3011, reason: 'force reconnect' };

export function Drawer() {
  const connection = opened.value;
  return connection && <Details key={connection.client} chosen={connection} />;
}

/** The connection as it is now, and when it was gone (unix milliseconds; 0 while it is there). */
function useLive(chosen: Connection): { connection: Connection; gone: number } {
  const connection = useSignal(chosen);
  const gone = useSignal(0);
  useEffect(() => {
    const look = async (): Promise<void> => {
      try {
        const { connections, missing } = await find({ client: chosen.client, limit: 1 });
        if (connections[0]) connection.value = connections[0];
        else if (!missing?.length && !gone.value) gone.value = Date.now();
      } catch {
        // said above, for all views
      }
    };
    const timer = setInterval(() => void look(), EVERY);
    return () => clearInterval(timer);
  }, []);
  return { connection: connection.value, gone: gone.value };
}

function Details({ chosen }: { chosen: Connection }) {
  const { connection, gone } = useLive(chosen);
  const close = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    close.current?.focus();
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === 'Escape') opened.value = null;
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
  const more = connection.num_channels - connection.channels.length;
  const facts: [string, string][] = [
    [word('client'), connection.client],
    [word('appid'), connection.appid || '–'],
    [word('node'), connection.node],
    [word('ip'), connection.ip],
    [word('sdk'), [connection.name, connection.version].filter(Boolean).join(' ') || '–'],
    [word('transport'), connection.transport],
    [word('since'), age(((gone || now.value) - connection.connected_at) / 1000)],
    [word('waiting'), bytes(connection.waiting_bytes)],
  ];
  return (
    <aside class="drawer" aria-label={word('details_of', { user: connection.user || word('anonymous') })}>
      <header>
        <h2>{connection.user || word('anonymous')}</h2>
        <button type="button" class="icon-button" ref={close} aria-label={word('close')} onClick={() => (opened.value = null)}>
          <Icon name="close" />
        </button>
      </header>
      {gone > 0 && <p class="gone" role="status">{word('gone')}</p>}
      <Actions connection={connection} />
      <dl>
        {facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
      </dl>
      {connection.channels.length > 0 && (
        <>
          <h3>{word('channels')}</h3>
          <ul class="chips">
            {connection.channels.map((channel) => <li key={channel}>{channel}</li>)}
            {more > 0 && <li>+{count(more)}</li>}
          </ul>
        </>
      )}
      <Trace connection={connection} />
    </aside>
  );
}

function Actions({ connection }: { connection: Connection }) {
  const { client, user } = connection;
  const outcome = useSignal<{ say: () => string; bad: boolean } | null>(null);
  const asking = useSignal(false);
  const blocked = useSignal(false);
  const seconds = useSignal(HOUR);
  const act = async (done: Promise<unknown>, say: () => string): Promise<boolean> => {
    try {
      await done;
      outcome.value = { say, bad: false };
      return true;
    } catch (error) {
      outcome.value = { say: () => word('not_done', { reason: (error as Error).message }), bad: true };
      return false;
    }
  };
  const block = async (): Promise<void> => {
    asking.value = false;
    const until = seconds.value ? Math.floor(Date.now() / 1000) + seconds.value : undefined;
    blocked.value = await act(blockUser(user, until), () => word('done_block', { user }));
  };
  const unblock = async (): Promise<void> => {
    if (await act(unblockUser(user), () => word('done_unblock', { user }))) blocked.value = false;
  };
  return (
    <div class="actions">
      <div class="row">
        <button type="button" onClick={() => void act(ask('disconnect', { user, client, disconnect: COME_BACK }), () => word('done_disconnect'))}>{word('disconnect')}</button>
        {user && knows('block_user') && (blocked.value
          ? <button type="button" onClick={() => void unblock()}>{word('unblock')}</button>
          : <button type="button" class="danger" aria-expanded={asking.value} onClick={() => (asking.value = !asking.value)}>{word('block')}</button>)}
      </div>
      {asking.value && (
        <div class="ask" role="group" aria-label={word('block')}>
          <p>{word('sure_block', { user })}</p>
          <div class="row">
            <select aria-label={word('block_for')} value={String(seconds.value)} onChange={(event) => (seconds.value = Number(event.currentTarget.value))}>
              <option value={HOUR}>{word('hour')}</option>
              <option value={24 * HOUR}>{word('day')}</option>
              <option value={0}>{word('forever')}</option>
            </select>
            <button type="button" class="danger" onClick={() => void block()}>{word('block')}</button>
            <button type="button" class="quiet" onClick={() => (asking.value = false)}>{word('cancel')}</button>
          </div>
        </div>
      )}
      <p class={outcome.value?.bad ? 'outcome bad' : 'outcome'} role="status">{outcome.value?.say()}</p>
    </div>
  );
}
