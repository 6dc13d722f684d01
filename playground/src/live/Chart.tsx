// One chart over time: uPlot on a canvas, in the colours of the page, with its figures in words beside it.

import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { dark } from '../theme';
import { language, locale, word } from '../words';

const HEIGHT = 150;
/** Seconds that the axis shows at least. */
const SHORTEST = 60;
const POWERS = Array.from({ length: 40 }, (_, power) => 2 ** power);
/** Pixels right of the lines: half of a time of day, which stands under the last of them. */
const RIGHT = 28;
const FONT = '11px system-ui, sans-serif';

export interface Line {
  label: string;
  /** Name of a custom property of the style sheet. */
  color: string;
  values: (number | null)[];
  fill?: boolean;
}

interface Props {
  title: string;
  /** Unix seconds. */
  times: number[];
  lines: Line[];
  format: (value: number) => string;
  /** Where the axis ends at least, so that nothing at all looks like nothing at all. */
  least: number;
  /** Of a computer: the axis is divided by powers of two. */
  binary?: boolean;
  /** Said where there are no lines. */
  empty?: string;
}

function property(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** The same with `share` of its strength. */
function faded(color: string, share: number): string {
  return `color-mix(in srgb, ${color} ${share * 100}%, transparent)`;
}

function optionsOf({ lines, format, least, binary }: Props, width: number): uPlot.Options {
  const soft = property('--soft');
  const axis: uPlot.Axis = { stroke: soft, font: FONT, grid: { stroke: property('--line'), width: 1 }, ticks: { show: false }, gap: 4 };
  return {
    width,
    height: HEIGHT,
    padding: [8, RIGHT, 0, 0],
    cursor: { points: { size: 6 }, y: false, drag: { setScale: false } },
    legend: { show: false },
    scales: {
      x: { range: ({ data: [times] }) => rangeOf(times) },
      y: { range: (_, __, most) => [0, Math.max(most * 1.15, least)] },
    },
    axes: [
      { ...axis, space: 70, size: 24, grid: { show: false }, values: (_, times) => times.map((time) => moment(time)) },
      { ...axis, space: 34, size: 56, ...(binary && { incrs: POWERS }), values: (_, values) => values.map((value) => format(value)) },
    ],
    series: [
      {},
      ...lines.map((line): uPlot.Series => ({
        label: line.label,
        stroke: property(line.color),
        width: 1.75,
        ...(line.fill && { fill: faded(property(line.color), 0.12) }),
        points: { show: false },
        spanGaps: false,
      })),
    ],
  };
}

/** Of the times themselves: around a single one uPlot would show days. */
function rangeOf(times: ArrayLike<number>): [number, number] {
  const last = times[times.length - 1] ?? Date.now() / 1000;
  return [Math.min(times[0] ?? last, last - SHORTEST), last];
}

function moment(seconds: number): string {
  return new Date(seconds * 1000).toLocaleTimeString(locale(), { hour12: false, hour: '2-digit', minute: '2-digit', second: '2-digit' });
}

export function Chart(props: Props) {
  const { title, times, lines, format, empty = '' } = props;
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shape = lines.map(({ label, color }) => label + color).join();
  const data = [times, ...lines.map(({ values }) => values)] as uPlot.AlignedData;
  useEffect(() => {
    const element = place.current!;
    const made = new uPlot(optionsOf(props, element.clientWidth || 300), data, element);
    plot.current = made;
    const sizes = new ResizeObserver(() => {
      if (element.clientWidth) made.setSize({ width: element.clientWidth, height: HEIGHT });
    });
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape, dark.value, language.value]);
  useEffect(() => plot.current?.setData(data), [times, lines]);

  const latest = lines.map(({ label, color, values }) => {
    const value = values.at(-1);
    return { label, color, text: value === null || value === undefined ? '–' : format(value) };
  });
  const spoken = latest.map(({ label, text }) => `${label} ${text}`).join(', ') || empty;
  return (
    <figure class="card chart">
      <figcaption>
        <h3>{title}</h3>
        <ul class="legend">
          {latest.map(({ label, color, text }) => (
            <li key={label}><i class={`dot ${color.slice(2)}`} aria-hidden="true" />{label} <b>{text}</b></li>
          ))}
          {lines.length === 0 && <li>{empty}</li>}
        </ul>
      </figcaption>
      <div class="plot" ref={place} role="img" aria-label={word('chart_of', { title, values: spoken })} />
    </figure>
  );
}
