// Before the dashboard: its password, or how to give it one.

import { useSignal } from '@preact/signals';
import { DeskError, login } from './desk';
import { Copy } from './parts/Copy';
import { Field } from './parts/Field';
import { word } from './words';

export function Login({ done }: { done: () => void }) {
  const password = useSignal('');
  const problem = useSignal<(() => string) | null>(null);
  const busy = useSignal(false);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    busy.value = true;
    try {
      await login(password.value);
      done();
    } catch (error) {
      const { status, retryAfter, message } = error as DeskError;
      if (status === 403) problem.value = () => word('wrong_password');
      else if (status === 429) problem.value = () => word('too_many', { seconds: retryAfter });
      else problem.value = () => word('login_failed', { reason: message });
      password.value = '';
    }
    busy.value = false;
  };
  return (
    <form class="card gate" onSubmit={(event) => void submit(event)}>
      <h1>{word('login_title')}</h1>
      <p class="hint">{word('login_text')}</p>
      {/* For password managers: there is one user. */}
      <input type="text" name="username" value="admin" autocomplete="username" hidden readOnly />
      <Field label={word('password')}>
        <input
          type="password" name="password" autocomplete="current-password" required autofocus maxLength={1024} value={password.value}
          onInput={(event) => (password.value = event.currentTarget.value)}
        />
      </Field>
      <button type="submit" class="strong" disabled={busy.value}>{word('log_in')}</button>
      <p class="outcome bad" role="alert">{problem.value?.()}</p>
    </form>
  );
}

export function SwitchedOff() {
  return (
    <section class="card gate">
      <h1>{word('off_title')}</h1>
      <p class="hint">{word('off_text')}</p>
      <pre class="command">{'[admin]\npassword = "…"'}</pre>
      <p class="hint">{word('off_hint')}</p>
      <div class="row">
        <code id="make" class="command">openssl rand -base64 18</code>
        <Copy of="make" />
      </div>
      <p class="hint">{word('off_env')}</p>
    </section>
  );
}
