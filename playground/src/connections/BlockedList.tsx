// The users that are blocked: from here they are let in again.

import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { day } from '../format';
import { word } from '../words';
import { type Blocked, blockedUsers, type BlockedUser, changes, unblock } from './blocked';

const EVERY = 5000;
const PAGE = 20;
/** What the gateway gives at once; beyond that, the search finds them. */
const MOST = 1000;
const TYPING = 250;

/** `search`: a part of the user. */
export function BlockedList({ search }: { search: string }) {
  const found = useSignal<Blocked | null>(null);
  const outcome = useSignal<{ say: () => string; bad: boolean } | null>(null);
  const limit = useSignal(PAGE);
  useEffect(() => {
    let ended = false;
    const look = async (): Promise<void> => {
      try {
        const answer = await blockedUsers(search, limit.value);
        if (!ended) found.value = answer;
      } catch {
        // the list of connections says already that the gateway does not answer
      }
    };
    const first = setTimeout(() => void look(), TYPING);
    const timer = setInterval(() => void look(), EVERY);
    return () => {
      ended = true;
      clearTimeout(first);
      clearInterval(timer);
    };
  }, [search, limit.value, changes.value]);

  const release = async (user: string): Promise<void> => {
    try {
      await unblock(user);
      outcome.value = { say: () => word('done_unblock', { user }), bad: false };
    } catch (error) {
      outcome.value = { say: () => word('not_done', { reason: (error as Error).message }), bad: true };
    }
  };
  const { users, total } = found.value ?? { users: [], total: 0 };
  if (!total && !outcome.value) return null;
  return (
    <section class="card blocked" aria-labelledby="blocked-title">
      <div class="row">
        <h2 id="blocked-title">{word('blocked_users')}</h2>
        <span class="hint">{word('blocked_found', { count: total })}</span>
      </div>
      <p class={outcome.value?.bad ? 'outcome bad' : 'outcome'} role="status">{outcome.value?.say()}</p>
      <ul>{users.map((each) => <Row key={each.user} blocked={each} release={() => void release(each.user)} />)}</ul>
      {users.length < Math.min(total, MOST) && (
        <button type="button" class="quiet more" onClick={() => (limit.value = Math.min(limit.value + 5 * PAGE, MOST))}>{word('more')}</button>
      )}
    </section>
  );
}

function Row({ blocked: { user, since, expire_at, reason }, release }: { blocked: BlockedUser; release: () => void }) {
  const until = expire_at ? word('blocked_until', { day: day(expire_at * 1000) }) : word('blocked_for_good');
  return (
    <li>
      <div>
        <b>{user}</b>
        <small>{[word('blocked_since', { day: day(since * 1000) }), until, reason].filter(Boolean).join(' · ')}</small>
      </div>
      <button type="button" aria-label={word('unblock_user', { user })} onClick={release}>{word('unblock')}</button>
    </li>
  );
}
