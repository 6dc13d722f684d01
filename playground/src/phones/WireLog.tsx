// What goes over a phone's wire, in words; a line opens to the JSON that was sent.

import { useSignal } from '@preact/signals';
import { clock } from '../format';
import { useEnd } from '../parts/end';
import { word } from '../words';
import type { Entry } from '../wx/journal';
import type { Phone } from './phone';

export function WireLog({ phone }: { phone: Phone }) {
  const { list, scrolled } = useEnd<HTMLOListElement>();
  const entries = phone.journal.entries.value;
  return (
    <ol class="wire" ref={list} onScroll={scrolled} tabIndex={0} aria-label={word('wire_of', { name: phone.name })}>
      {entries.length === 0 && <li class="note">{word('wire_empty')}</li>}
      {entries.map((entry) => <Line key={entry.key} entry={entry} />)}
    </ol>
  );
}

const WHO = { out: 'w_out', in: 'w_in', device: 'w_device' } as const;

function Line({ entry }: { entry: Entry }) {
  const open = useSignal(false);
  const content = (
    <>
      <span class="who">{word(WHO[entry.who])}</span>
      <span class="said">
        {entry.say()}
        {entry.times > 1 && <em>{word('w_times', { count: entry.times })}</em>}
        {entry.lost && <em class="lost">{word('w_dropped')}</em>}
      </span>
      <time>{clock(entry.time)}</time>
    </>
  );
  return (
    <li class={`line ${entry.who}`}>
      {entry.raw ? (
        <button type="button" aria-expanded={open.value} onClick={() => (open.value = !open.value)}>{content}</button>
      ) : (
        <div>{content}</div>
      )}
      {open.value && <pre>{pretty(entry.raw)}</pre>}
    </li>
  );
}

function pretty(raw: string): string {
  return JSON.stringify(JSON.parse(raw), null, 1);
}
