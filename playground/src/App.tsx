// The frame: header, the views, and what to show before the gateway has let us in.

import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { ConnectionsView, opened } from './connections/ConnectionsView';
import { Drawer } from './connections/Drawer';
import { config as askConfig, type Config, DeskError, knows, logout } from './desk';
import { LiveView } from './live/LiveView';
import { problem, watch } from './live/series';
import { Login, SwitchedOff } from './Login';
import { Icon } from './parts/icons';
import { addPhone, phones, PhonesView } from './phones/PhonesView';
import { ServeDesk } from './ServeDesk';
import { nextTheme, theme } from './theme';
import { language, switchLanguage, type Word, word } from './words';

type View = 'phones' | 'live' | 'connections' | 'desk';

const RETRY = 2000;
const config = signal<Config | null>(null);
const unreachable = signal<Error | null>(null);
const view = signal<View>('phones');

async function load(): Promise<void> {
  try {
    const loaded = await askConfig();
    unreachable.value = null;
    if (loaded.phones) {
      if (!phones.value.length) {
        addPhone(loaded);
        addPhone(loaded);
      }
    } else if (view.value === 'phones') {
      view.value = 'live';
    }
    config.value = loaded;
  } catch (error) {
    unreachable.value = error as Error;
    setTimeout(() => void load(), RETRY);
  }
}

export function App() {
  useEffect(() => void load(), []);
  const access = config.value?.access;
  useEffect(() => {
    if (access !== 'dev' && access !== 'open') return undefined;
    return watch(() => void load());
  }, [access]);
  useEffect(() => {
    document.documentElement.lang = language.value === 'zh' ? 'zh-CN' : 'en';
  }, [language.value]);

  const inside = access === 'dev' || access === 'open';
  const views: View[] = config.value?.phones ? ['phones', 'live', 'connections'] : ['live', 'connections', 'desk'];
  const trouble = unreachable.value ?? (inside ? problem.value : null);
  const shown = views.filter((name) => name !== 'connections' || knows('connections'));
  return (
    <>
      <Header views={inside ? shown : []} />
      <main>
        {trouble && <Trouble error={trouble} />}
        {access === 'login' && <Login done={() => void load()} />}
        {access === 'off' && <SwitchedOff />}
        {config.value?.phones && (
          // Never taken down: phones go on while somebody looks at the charts.
          <div hidden={view.value !== 'phones'}><PhonesView config={config.value!} /></div>
        )}
        {inside && <div class={trouble ? 'stale' : ''}><Inside config={config.value!} /></div>}
      </main>
      {inside && opened.value && <Drawer />}
    </>
  );
}

function Trouble({ error }: { error: Error }) {
  const silent = error instanceof DeskError && error.status === 0;
  return <p class="banner" role="alert">{silent ? word('no_gateway') : word('gateway_error', { reason: error.message })}</p>;
}

function Inside({ config }: { config: Config }) {
  switch (view.value) {
    case 'phones':
      return null;
    case 'live':
      return <LiveView />;
    case 'connections':
      return <ConnectionsView />;
    case 'desk':
      return <ServeDesk config={config} />;
  }
}

function Header({ views }: { views: View[] }) {
  const { access, version } = config.value ?? {};
  const themeName = word(`theme_${theme.value}` as Word);
  return (
    <header class="top">
      <div class="brand">
        <svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="9" /><path d="M8 18a8 8 0 0 1 16 0M12.5 18.5a3.5 3.5 0 0 1 7 0" /><circle cx="16" cy="21.5" r="2" /></svg>
        <strong>wx-gateway</strong>
        {version && <small>{version}</small>}
      </div>
      {views.length > 0 && (
        <nav aria-label={word('views')}>
          {views.map((name) => (
            <button type="button" key={name} aria-current={view.value === name ? 'page' : undefined} onClick={() => {
              view.value = name;
              opened.value = null;
            }}>{word(name)}</button>
          ))}
        </nav>
      )}
      <div class="tools">
        <button type="button" class="quiet" id="language" aria-label={word('language_label')} onClick={switchLanguage}>{word('language')}</button>
        <button type="button" class="icon-button" id="theme" aria-label={word('theme_label', { theme: themeName })} title={themeName} onClick={nextTheme}>
          <Icon name={theme.value === 'auto' ? 'auto' : theme.value === 'dark' ? 'moon' : 'sun'} />
        </button>
        {access === 'open' && <button type="button" class="quiet" onClick={() => void logout().then(load, load)}>{word('log_out')}</button>}
      </div>
    </header>
  );
}
