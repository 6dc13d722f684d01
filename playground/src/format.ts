// Figures for people.

import { locale, word } from './words';

export function count(value: number): string {
  return value.toLocaleString(locale(), { maximumFractionDigits: value < 10 && value % 1 ? 1 : 0 });
}

export function rate(value: number): string {
  if (value > 0 && value < 0.1) return '< 0.1';
  return value.toLocaleString(locale(), { maximumFractionDigits: value < 100 ? 1 : 0 });
}

export function bytes(value: number): string {
  if (value < 1000) return `${Math.round(value)} B`;
  const units = ['KB', 'MB', 'GB', 'TB'];
  let scaled = value / 1024;
  let unit = 0;
  while (scaled >= 1000 && unit < units.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  return `${scaled.toLocaleString(locale(), { maximumFractionDigits: scaled < 10 ? 1 : 0 })} ${units[unit]}`;
}

/** Of seconds. */
export function duration(seconds: number): string {
  if (seconds === 0) return '0 ms';
  if (seconds < 0.001) return `${Math.max(1, Math.round(seconds * 1e6))} µs`;
  if (seconds < 1) return `${(seconds * 1000).toLocaleString(locale(), { maximumFractionDigits: seconds < 0.01 ? 1 : 0 })} ms`;
  return `${seconds.toLocaleString(locale(), { maximumFractionDigits: seconds < 10 ? 1 : 0 })} s`;
}

/** Of seconds, as long as uptimes are. */
export function age(seconds: number): string {
  if (seconds < 120) return word('u_s', { n: Math.max(0, Math.round(seconds)) });
  if (seconds < 7200) return word('u_m', { n: Math.round(seconds / 60) });
  if (seconds < 172800) return word('u_h', { n: Math.round(seconds / 3600) });
  return word('u_d', { n: Math.round(seconds / 86400) });
}

/** Of unix milliseconds. */
export function clock(time: number): string {
  return new Date(time).toLocaleTimeString(locale(), { hour12: false });
}

/** Of unix milliseconds: the day, too, in the time of who looks. */
export function day(time: number): string {
  return new Date(time).toLocaleString(locale(), { dateStyle: 'medium', timeStyle: 'short', hour12: false });
}

/** A personal channel is as long as an openid. */
export function shorten(text: string, keep = 14): string {
  return text.length > keep ? `${text.slice(0, 6)}…${text.slice(-4)}` : text;
}
