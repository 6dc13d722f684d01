// The desk of `gateway dev`: publish to phones, call handlers from them, and how to do it from a shell.

import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { ask, type Config } from '../desk';
import { Copy } from '../parts/Copy';
import { Field } from '../parts/Field';
import { parseData } from '../parts/data';
import { isHello, language, word } from '../words';
import type { Phone } from './phone';

const EVERYONE = '*';
/** The error of a call to a gateway that has no handlers. */
const NOT_AVAILABLE = 108;
const SHOP = '.venv/bin/gateway dev examples.shop:gateway';

export function DevDesk({ config, phones }: { config: Config; phones: Phone[] }) {
  return (
    <aside class="desk" aria-label={word('desk')}>
      <Publish config={config} phones={phones} />
      <Rpc phones={phones} />
      <Shell config={config} />
    </aside>
  );
}

function Publish({ config, phones }: { config: Config; phones: Phone[] }) {
  const channel = config.channel!;
  const target = useSignal(channel);
  const text = useSignal(word('hello'));
  const ticking = useSignal(false);
  const outcome = useSignal<{ say: () => string; bad: boolean } | null>(null);
  const published = useSignal(0);
  useEffect(() => {
    if (isHello(text.value)) text.value = word('hello');
  }, [language.value]);

  const label = (value: string): string => {
    if (value === EVERYONE) return word('everyone');
    const phone = phones.find((each) => each.personal.value === value);
    return phone ? word('alone', { name: phone.name }) : word('channel_named', { channel: value });
  };
  const publish = async (): Promise<void> => {
    const to = target.value;
    published.value += 1;
    const data = parseData(text.value, (plain) => ({ text: `${plain} ${published.value}` }));
    try {
      if (to === EVERYONE) {
        await ask('broadcast_all', { data });
        outcome.value = { say: () => word('sent', { target: label(to) }), bad: false };
      } else {
        const { offset } = await ask<{ offset?: number }>('publish', { channel: to, data });
        outcome.value = { say: () => word(offset ? 'sent_at' : 'sent', { target: label(to), offset: offset ?? 0 }), bad: false };
      }
    } catch (error) {
      outcome.value = { say: () => word('failed', { reason: (error as Error).message }), bad: true };
    }
  };
  useEffect(() => {
    if (!ticking.value) return undefined;
    void publish();
    const timer = setInterval(() => void publish(), 1000);
    return () => clearInterval(timer);
  }, [ticking.value]);

  const own = phones.map((phone) => phone.personal.value).filter(Boolean);
  return (
    <form class="card" id="publish" onSubmit={(event) => {
      event.preventDefault();
      void publish();
    }}>
      <h2>{word('publish')}</h2>
      <Field label={word('to')}>
        <select id="target" value={target.value} onChange={(event) => (target.value = event.currentTarget.value)}>
          {[channel, ...own, EVERYONE].map((value) => <option key={value} value={value}>{label(value)}</option>)}
        </select>
      </Field>
      <Field label={word('text')}>
        <input id="text" value={text.value} required maxLength={2000} autocomplete="off" onInput={(event) => (text.value = event.currentTarget.value)} />
      </Field>
      <div class="row">
        <button type="submit" class="strong">{word('publish')}</button>
        <label class="switch">
          <input type="checkbox" id="ticking" checked={ticking.value} onChange={(event) => (ticking.value = event.currentTarget.checked)} />
          <span>{word('ticking')}</span>
        </label>
      </div>
      <p id="outcome" class={outcome.value?.bad ? 'outcome bad' : 'outcome'} role="status">{outcome.value?.say()}</p>
    </form>
  );
}

function Rpc({ phones }: { phones: Phone[] }) {
  const from = useSignal('');
  const method = useSignal('order.create');
  const data = useSignal('{"item": "tea"}');
  const answer = useSignal<{ say: () => string; bad: boolean } | null>(null);
  const hint = useSignal<'rpc_hint' | 'rpc_nobody' | null>('rpc_hint');
  const phone = phones.find((each) => each.name === from.value) ?? phones[0];
  const call = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (!phone?.device.running.value) {
      answer.value = { say: () => word('no_phone'), bad: true };
      return;
    }
    try {
      const result = await phone.call(method.value, parseData(data.value, (plain) => plain));
      answer.value = { say: () => JSON.stringify(result ?? null), bad: false };
      hint.value = null;
    } catch (error) {
      const { code, message } = error as { code: number; message: string };
      const nobody = code === NOT_AVAILABLE;
      answer.value = { say: () => word('rpc_error', { code, message: nobody ? word('rpc_none') : message }), bad: true };
      hint.value = nobody ? 'rpc_nobody' : null;
    }
  };
  return (
    <form class="card" id="rpc" onSubmit={(event) => void call(event)}>
      <h2>{word('rpc')}</h2>
      <div class="row">
        <Field label={word('from')}>
          <select value={phone?.name ?? ''} onChange={(event) => (from.value = event.currentTarget.value)}>
            {phones.map((each) => <option key={each.name} value={each.name}>{each.name}</option>)}
          </select>
        </Field>
        <Field label={word('method')} grow>
          <input value={method.value} required maxLength={200} autocomplete="off" spellcheck={false} onInput={(event) => (method.value = event.currentTarget.value)} />
        </Field>
      </div>
      <div class="row end">
        <Field label={word('data')} grow>
          <input class="code" value={data.value} maxLength={2000} autocomplete="off" spellcheck={false} onInput={(event) => (data.value = event.currentTarget.value)} />
        </Field>
        <button type="submit">{word('call')}</button>
      </div>
      <div class="answer" role="status">
        {answer.value && <p class={answer.value.bad ? 'outcome bad' : 'outcome'}><code>{answer.value.say()}</code></p>}
        {hint.value && <p class="outcome">{word(hint.value)} <code>{SHOP}</code></p>}
      </div>
    </form>
  );
}

function Shell({ config }: { config: Config }) {
  const body = JSON.stringify({ channel: config.channel, data: { text: 'hello from a shell' } });
  const command = `curl ${config.api}/publish -H 'X-API-Key: ${config.api_key}' -d '${body}'`;
  return (
    <section class="card" aria-labelledby="shell-title">
      <div class="row">
        <h2 id="shell-title">{word('shell')}</h2>
        <Copy of="command" />
      </div>
      <code id="command" class="command" tabIndex={0} aria-labelledby="shell-title">{command}</code>
    </section>
  );
}
