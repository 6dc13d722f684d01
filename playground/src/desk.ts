// What the page asks the gateway: the methods of the server API, let in by a cookie, or by being on this machine.

import { word } from './words';

const folder = new URL('..', import.meta.url);
const desk = new URL(document.documentElement.dataset.desk ?? '', folder);

/** What the page has to know first. */
export interface Config {
  /** `dev`: nothing asked; `open`: logged in; `login`: not yet; `off`: there is no password. */
  access: 'dev' | 'open' | 'login' | 'off';
  version?: string;
  websocket?: string;
  api?: string;
  api_key?: string;
  channel?: string;
  appid?: string;
  /** Begins the name of a user's own channel. */
  personal?: string;
  /** Whether simulated phones can sign in: with the stand-in for WeChat. */
  phones?: boolean;
  /** What can be asked. */
  methods?: string[];
}

/** An answer that is an error. `status` is 0 where there was no answer at all. */
export class DeskError extends Error {
  constructor(
    readonly status: number,
    readonly code: number,
    message: string,
    readonly retryAfter = 0,
  ) {
    super(message);
  }
}

/** Milliseconds until a question counts as not answered. */
const PATIENCE = 10_000;

let methods: string[] = [];

/** Whether this gateway has a method: parts of the page that need one it has not are hidden. */
export function knows(method: string): boolean {
  return methods.includes(method);
}

function unanswered(): DeskError {
  // What browsers say of it is English, and never why.
  return new DeskError(0, 0, word('unanswered'));
}

async function request(path: string, body?: unknown): Promise<Response> {
  const impatience = new AbortController();
  const timer = setTimeout(() => impatience.abort(), PATIENCE);
  const options: RequestInit = { credentials: 'same-origin', signal: impatience.signal };
  if (body !== undefined) {
    options.method = 'POST';
    options.headers = { 'Content-Type': 'application/json' };
    options.body = JSON.stringify(body);
  }
  let response: Response;
  try {
    response = await fetch(new URL(path, desk), options);
  } catch {
    throw unanswered();
  } finally {
    clearTimeout(timer);
  }
  if (response.ok) return response;
  const problem = (await response.json().catch(() => ({}))) as { code?: number; message?: string };
  const retry = Number(response.headers.get('retry-after') ?? 0);
  throw new DeskError(response.status, problem.code ?? 0, problem.message ?? response.statusText, retry);
}

export async function config(): Promise<Config> {
  const loaded = (await (await request('config')).json()) as Config;
  methods = loaded.methods ?? [];
  return loaded;
}

/** Call a method of the server API. */
export async function ask<T>(method: string, params: unknown = {}): Promise<T> {
  const answer = (await (await request(`api/${method}`, params)).json()) as {
    result?: T;
    error?: { code: number; message: string };
  };
  if (answer.error) throw new DeskError(200, answer.error.code, answer.error.message);
  return answer.result as T;
}

export async function login(password: string): Promise<void> {
  await request('login', { password });
}

export async function logout(): Promise<void> {
  await request('logout', {});
}

/** Lines of JSON, one after the other, until `signal` or the gateway ends it. */
export async function* lines<T>(path: string, signal: AbortSignal): AsyncGenerator<T> {
  const response = await fetch(new URL(`api/${path}`, desk), { credentials: 'same-origin', signal }).catch(() => {
    throw unanswered();
  });
  if (!response.ok || !response.body) throw new DeskError(response.status, 0, response.statusText);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw unanswered();
    });
    if (done) return;
    const parts = (rest + value).split('\n');
    rest = parts.pop()!;
    for (const line of parts) if (line.trim()) yield JSON.parse(line) as T;
  }
}
