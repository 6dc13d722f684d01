// The desk of `gateway serve`: publish to a channel, to a user, to everybody.

import { useSignal } from '@preact/signals';
import { ask, type Config } from './desk';
import { parseData } from './parts/data';
import { Field } from './parts/Field';
import { word } from './words';

type Kind = 'channel' | 'user' | 'all';

export function ServeDesk({ config }: { config: Config }) {
  const kind = useSignal<Kind>('channel');
  const name = useSignal('');
  const data = useSignal('');
  const outcome = useSignal<{ say: () => string; bad: boolean } | null>(null);
  const publish = async (event: Event): Promise<void> => {
    event.preventDefault();
    const target = kind.value === 'all' ? word('to_all') : name.value;
    const body = parseData(data.value, (text) => ({ text }));
    try {
      if (kind.value === 'all') {
        await ask('broadcast_all', { data: body });
        outcome.value = { say: () => word('sent', { target }), bad: false };
        return;
      }
      const channel = kind.value === 'user' ? `${config.personal ?? '#'}${name.value}` : name.value;
      const { offset } = await ask<{ offset?: number }>('publish', { channel, data: body });
      outcome.value = { say: () => word(offset ? 'sent_at' : 'sent', { target, offset: offset ?? 0 }), bad: false };
    } catch (error) {
      outcome.value = { say: () => word('failed', { reason: (error as Error).message }), bad: true };
    }
  };
  return (
    <div class="serve-desk">
      <form class="card" id="publish" onSubmit={(event) => void publish(event)}>
        <h2>{word('publish')}</h2>
        <div class="row">
          <Field label={word('to')}>
            <select value={kind.value} onChange={(event) => (kind.value = event.currentTarget.value as Kind)}>
              <option value="channel">{word('to_channel')}</option>
              <option value="user">{word('to_user')}</option>
              <option value="all">{word('to_all')}</option>
            </select>
          </Field>
          {kind.value !== 'all' && (
            <Field label={word(kind.value === 'user' ? 'user' : 'channel')} grow>
              <input value={name.value} required maxLength={255} autocomplete="off" spellcheck={false} onInput={(event) => (name.value = event.currentTarget.value)} />
            </Field>
          )}
        </div>
        <Field label={word('text')}>
          <textarea value={data.value} required rows={6} maxLength={100000} spellcheck={false} onInput={(event) => (data.value = event.currentTarget.value)} />
        </Field>
        <div class="row">
          <button type="submit" class="strong">{word('publish')}</button>
          <p class={outcome.value?.bad ? 'outcome bad' : 'outcome'} role="status">{outcome.value?.say()}</p>
        </div>
      </form>
    </div>
  );
}
