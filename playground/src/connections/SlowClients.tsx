// The clients that read slower than they are sent to, the slowest on top.

import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { bytes, shorten } from '../format';
import { word } from '../words';
import { opened } from './ConnectionsView';
import { type Connection, find } from './list';

const EVERY = 5000;
const SHOWN = 6;

export function SlowClients() {
  const slow = useSignal<Connection[]>([]);
  useEffect(() => {
    const look = async (): Promise<void> => {
      try {
        const found = await find({ slow: true, limit: SHOWN });
        slow.value = found.connections.filter((each) => each.waiting_bytes > 0);
      } catch {
        // the figures above say already that the gateway does not answer
      }
    };
    void look();
    const timer = setInterval(() => void look(), EVERY);
    return () => clearInterval(timer);
  }, []);
  return (
    <section class="card slow" aria-labelledby="slow-title">
      <h2 id="slow-title">{word('slow_clients')}</h2>
      {slow.value.length === 0 ? <p class="hint">{word('no_slow')}</p> : (
        <ul>
          {slow.value.map((each) => (
            <li key={each.client}>
              <button type="button" class="link" onClick={() => (opened.value = each)}>
                <span>{shorten(each.user || word('anonymous'), 20)}</span><b>{bytes(each.waiting_bytes)}</b>
              </button>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
