// One phone on the page: its screen, and buttons for what happens to phones.

import { useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { shorten } from '../format';
import { useEnd } from '../parts/end';
import { Icon } from '../parts/icons';
import { word } from '../words';
import { MessageItem } from './MessageItem';
import type { Phone } from './phone';
import { WireLog } from './WireLog';

type Look = 'good' | 'wait' | 'bad' | 'away';

function look(phone: Phone): [Look, string] {
  const { background, network, running } = phone.device;
  if (!running.value) return ['away', word('killed')];
  if (background.value) return ['away', word('in_background', { seconds: background.value })];
  if (network.value === 'none') return ['away', word('offline')];
  switch (phone.state.value) {
    case 'connected':
      return ['good', word('connected')];
    case 'background':
      return ['away', word('hidden')];
    case 'disconnected':
      return phone.problem.value ? ['bad', word('disconnected', { reason: phone.problem.value })] : ['wait', word('starting')];
    default:
      return ['wait', word(phone.openid.value ? 'reconnecting' : 'signing_in')];
  }
}

export function PhoneCard({ phone, phones, remove }: { phone: Phone; phones: Phone[]; remove: () => void }) {
  const tab = useSignal<'messages' | 'wire'>('messages');
  const [kind, state] = look(phone);
  const running = phone.device.running.value;
  return (
    <article class={running ? 'phone' : 'phone asleep'}>
      <header>
        <span class="avatar" data-letter={phone.name[0]} aria-hidden="true">{phone.name[0]}</span>
        <div class="who">
          <h2>{phone.name}</h2>
          <p class={`state ${kind}`} role="status"><i aria-hidden="true" /><span>{state}</span></p>
        </div>
        <button type="button" class="icon-button" aria-label={word('remove', { name: phone.name })} onClick={remove}>
          <Icon name="close" />
        </button>
      </header>
      <div class="screen">
        <div class="screen-bar">
          <div class="tabs" role="tablist">
            {(['messages', 'wire'] as const).map((name) => (
              <button type="button" role="tab" key={name} aria-selected={tab.value === name} onClick={() => (tab.value = name)}>
                {word(name)}
              </button>
            ))}
          </div>
          <span class="openid" title={phone.openid.value}>{shorten(phone.openid.value, 12)}</span>
        </div>
        {tab.value === 'messages' ? <Messages phone={phone} phones={phones} /> : <WireLog phone={phone} />}
        <Composer phone={phone} />
      </div>
      <Happenings phone={phone} />
    </article>
  );
}

function Messages({ phone, phones }: { phone: Phone; phones: Phone[] }) {
  const { list, scrolled, stay } = useEnd<HTMLOListElement>();
  const items = phone.items.value;
  return (
    <ol class="messages" ref={list} onScroll={scrolled} tabIndex={0} aria-label={word('messages_of', { name: phone.name })}>
      {items.length === 0 && <li class="note">{word('nothing_yet')}</li>}
      {items.map((item) => (
        <MessageItem key={item.key} item={item} phone={phone} phones={phones} loaded={stay} />
      ))}
    </ol>
  );
}

function Composer({ phone }: { phone: Phone }) {
  const text = useSignal('');
  const file = useRef<HTMLInputElement>(null);
  const running = phone.device.running.value;
  const submit = (event: Event): void => {
    event.preventDefault();
    if (!text.value.trim()) return;
    phone.say(text.value.trim());
    text.value = '';
  };
  const picked = (): void => {
    const picture = file.current?.files?.[0];
    if (picture) void phone.sendPicture(picture);
    if (file.current) file.current.value = '';
  };
  return (
    <form class="composer" onSubmit={submit}>
      {phone.progress.value >= 0 && (
        <progress max={100} value={phone.progress.value} aria-label={word('uploading', { progress: phone.progress.value })} />
      )}
      <input
        value={text.value} disabled={!running} maxLength={500} autocomplete="off" placeholder={word('say')}
        aria-label={word('say_of', { name: phone.name })} onInput={(event) => (text.value = event.currentTarget.value)}
      />
      <input ref={file} type="file" accept="image/*" hidden onChange={picked} />
      <button
        type="button" class="icon-button" disabled={!running} aria-label={word('picture')} title={word('picture')}
        onClick={() => file.current?.click()}
      >
        <Icon name="picture" />
      </button>
      <button type="submit" class="icon-button" disabled={!running || !text.value.trim()} aria-label={word('send')} title={word('send')}>
        <Icon name="send" />
      </button>
    </form>
  );
}

function Happenings({ phone }: { phone: Phone }) {
  const { device } = phone;
  const running = device.running.value;
  const away = !running || device.background.value > 0;
  const offline = device.network.value === 'none';
  const failed = running && phone.state.value === 'disconnected' && phone.problem.value;
  if (!running || failed) {
    return (
      <footer class="happenings single">
        <button type="button" class="strong" onClick={() => (running ? phone.signInAgain() : phone.reopen())}>
          <Icon name="power" />{word(running ? 'again' : 'open')}
        </button>
      </footer>
    );
  }
  return (
    <footer class="happenings" role="group" aria-label={word('controls_of', { name: phone.name })}>
      <button type="button" disabled={away} onClick={() => phone.toBackground()}>
        <Icon name="home" />{word('background')}
      </button>
      <button type="button" aria-pressed={offline} disabled={away} onClick={() => (offline ? device.findNetwork() : device.loseNetwork())}>
        <Icon name={offline ? 'wifi' : 'noNetwork'} />{word(offline ? 'back' : 'lose')}
      </button>
      <button type="button" disabled={away || offline} onClick={() => device.switchNetwork()}>
        <Icon name="swap" />{word('switch_wifi')}
      </button>
      <button type="button" aria-pressed={device.network.value === '3g'} disabled={away || offline} onClick={() => device.setSlow(!device.slow)}>
        <Icon name="slow" />{word(device.network.value === '3g' ? 'fast' : 'slow')}
      </button>
      <button type="button" onClick={() => phone.kill()}>
        <Icon name="power" />{word('kill')}
      </button>
    </footer>
  );
}
