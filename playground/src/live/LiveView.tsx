// How the gateway is doing: figures, charts, nodes, and who is slow.

import { useComputed } from '@preact/signals';
import { SlowClients } from '../connections/SlowClients';
import { knows } from '../desk';
import { age, bytes, count, duration, rate, shorten } from '../format';
import { rowClick } from '../parts/row';
import { word } from '../words';
import { Chart, type Line } from './Chart';
import { chosen, missing, nodes, type Point, points, rates } from './series';

const CODE_COLORS = ['--chart-red', '--chart-amber', '--chart-violet', '--chart-blue', '--chart-gray'];

export function LiveView() {
  const now = points.value.at(-1);
  return (
    <div class="live-view">
      {missing.value.length > 0 && (
        <p class="banner" role="alert">{word('missing_nodes', { count: missing.value.length, nodes: missing.value.map((uid) => uid.slice(0, 6)).join(', ') })}</p>
      )}
      <Tiles now={now} />
      <Charts />
      <div class="columns">
        <Nodes />
        {knows('connections') && <SlowClients />}
      </div>
      <p class="hint">{word('since_open')}</p>
    </div>
  );
}

function Tiles({ now }: { now: Point | undefined }) {
  const errors = Object.values(now?.errors ?? {}).reduce((total, each) => total + each, 0);
  const or = (value: number | null | undefined, format: (value: number) => string): string =>
    value === null || value === undefined ? '–' : format(value);
  const tiles = [
    { title: word('t_connections'), value: or(now?.connections, count), sub: word('t_connections_sub', { users: or(now?.users, count), subscriptions: or(now?.subscriptions, count) }) },
    { title: word('t_in'), value: or(now?.in, rate), sub: word('t_in_sub') },
    { title: word('t_out'), value: or(now?.out, rate), sub: word('t_out_sub') },
    { title: word('t_latency'), value: or(now?.p99, duration), sub: now && now.p50 !== null ? word('t_latency_sub', { p50: duration(now.p50) }) : word('t_no_latency') },
    { title: word('t_waiting'), value: or(now?.waiting, bytes), sub: word('t_waiting_sub') },
    { title: word('t_errors'), value: rate(errors), sub: word('t_errors_sub'), bad: errors >= 1 },
  ];
  return (
    <section class="tiles" aria-label={word('figure')}>
      {tiles.map(({ title, value, sub, bad }) => (
        <div class={bad ? 'tile bad' : 'tile'} key={title}>
          <h3>{title}</h3>
          <p class="value">{value}</p>
          <p class="sub">{sub}</p>
        </div>
      ))}
    </section>
  );
}

function Charts() {
  const all = points.value;
  const times = useComputed(() => points.value.map(({ at }) => at)).value;
  const of = (pick: (point: Point) => number | null): (number | null)[] => all.map(pick);
  const line = (label: string, color: string, pick: (point: Point) => number | null, fill = false): Line =>
    ({ label, color, values: of(pick), fill });
  return (
    <section class="charts" aria-label={word('live')}>
      <Chart title={word('c_connections')} times={times} format={count} least={4} lines={[line(word('t_connections'), '--chart-green', (point) => point.connections, true)]} />
      <Chart title={word('c_traffic')} times={times} format={rate} least={4} lines={[
        line(word('s_out'), '--chart-green', (point) => point.out, true),
        line(word('s_in'), '--chart-blue', (point) => point.in),
      ]} />
      <Chart title={word('c_latency')} times={times} format={duration} least={0.002} lines={[
        line('p99', '--chart-amber', (point) => point.p99, true),
        line('p50', '--chart-green', (point) => point.p50),
      ]} />
      <Chart title={word('c_waiting')} times={times} format={bytes} least={4096} binary lines={[line(word('t_waiting'), '--chart-violet', (point) => point.waiting, true)]} />
      <Chart title={word('c_errors')} times={times} format={rate} least={4} empty={word('s_none')} lines={errorLines(all)} />
      <Chart title={word('c_lag')} times={times} format={duration} least={0.002} lines={[line(word('lag'), '--chart-blue', (point) => point.lag, true)]} />
    </section>
  );
}

/** The codes of the ten minutes, the most frequent ones by themselves, the rest together. */
function errorLines(all: Point[]): Line[] {
  const totals = new Map<string, number>();
  for (const { errors } of all) {
    for (const [code, value] of Object.entries(errors)) totals.set(code, (totals.get(code) ?? 0) + value);
  }
  const codes = [...totals.keys()].sort((a, b) => totals.get(b)! - totals.get(a)!);
  const own = codes.slice(0, CODE_COLORS.length - 1);
  const lines: Line[] = own.map((code, index) => ({
    label: code, color: CODE_COLORS[index]!, values: all.map(({ errors }) => errors[code] ?? 0),
  }));
  const rest = codes.slice(own.length);
  if (rest.length) {
    const values = all.map(({ errors }) => rest.reduce((total, code) => total + (errors[code] ?? 0), 0));
    lines.push({ label: '…', color: CODE_COLORS.at(-1)!, values });
  }
  return lines;
}

function Nodes() {
  const list = nodes.value;
  return (
    <section class="card nodes" aria-labelledby="nodes-title">
      <div class="row">
        <h2 id="nodes-title">{word('nodes')}</h2>
        {chosen.value && <button type="button" class="quiet" onClick={() => (chosen.value = '')}>{word('all_nodes')}</button>}
      </div>
      <div class="scroller" tabIndex={0} role="region" aria-labelledby="nodes-title">
        <table>
          <thead>
            <tr>
              <th scope="col">{word('node')}</th><th scope="col">{word('t_connections')}</th><th scope="col">{word('t_in')}</th>
              <th scope="col">{word('t_out')}</th><th scope="col">p99</th><th scope="col">{word('t_waiting')}</th>
              <th scope="col">{word('lag')}</th><th scope="col">{word('uptime')}</th>
            </tr>
          </thead>
          <tbody>
            {list.map((node) => {
              const now = rates.value.get(node.uid);
              const pressed = chosen.value === node.uid;
              return (
                <tr key={node.uid} class={pressed ? 'opens chosen' : 'opens'} onClick={rowClick(() => (chosen.value = pressed ? '' : node.uid))}>
                  <th scope="row">
                    <button type="button" class="link" aria-pressed={pressed}>
                      <i class={node.draining ? 'led wait' : 'led good'} title={word(node.draining ? 'draining' : 'alive')} />
                      {shorten(node.name, 18)} <small>{node.uid.slice(0, 4)}</small>
                    </button>
                  </th>
                  <td>{count(node.connections)}</td>
                  <td>{now && !Number.isNaN(now.in) ? rate(now.in) : '–'}</td>
                  <td>{now && !Number.isNaN(now.out) ? rate(now.out) : '–'}</td>
                  <td>{node.latency ? duration(node.latency.p99) : '–'}</td>
                  <td>{bytes(node.waiting_bytes)}</td>
                  <td>{duration(node.loop_lag)}</td>
                  <td>{age(node.uptime)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </section>
  );
}
