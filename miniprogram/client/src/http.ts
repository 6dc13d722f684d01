/**
 * Requests beside the socket: with the token, tried again where that helps, never more at once than a phone allows.
 *
 * What phones do: `success` is called for every status; a hidden app has no network after 5 seconds; 10 requests,
 * uploads and downloads may run at once.
 */

import type { Platform } from './api';
import { GatewayError, LocalCode, asError } from './errors';
import type { Identity } from './signin';

/** Of the 10 that a phone allows; the rest is the app's own. */
const AT_ONCE = 6;
const FIRST_DELAY = 500;
const LONGEST_DELAY = 10000;

export interface Answer {
  status: number;
  /** Parsed where it was JSON. */
  body: any;
  header: { [name: string]: string };
}

/** One try of a request with this token. `sent`: told once everything has left the phone. */
export type Attempt<T> = (token: string) => Promise<T>;

export interface HttpOptions {
  wx: Platform;
  url: string;
  attempts: number;
  /** Resolved while the app is on the screen. */
  visible: () => Promise<void>;
}

export class Http {
  private running = 0;
  private readonly waiting: Array<() => void> = [];

  constructor(
    private readonly options: HttpOptions,
    private readonly identity: () => Identity,
  ) {}

  /** With its host. */
  absolute(path: string): string {
    return /^https?:\/\//.test(path) ? path : this.options.url + path;
  }

  /** Whether a url is the gateway's: nobody else gets the token. */
  isOurs(url: string): boolean {
    return url === this.options.url || url.indexOf(this.options.url + '/') === 0;
  }

  /** A JSON request with the token. */
  ask(method: string, path: string, body?: any, more?: { header?: any; again?: (error: GatewayError) => boolean }): Promise<Answer> {
    return this.withToken(
      (token) => this.once(method, path, body, { ...(more && more.header), Authorization: 'Bearer ' + token }),
      more && more.again,
    );
  }

  /** A request as it is, once. Rejected for every status from 400 on. */
  once(method: string, path: string, body?: any, header?: { [name: string]: string }): Promise<Answer> {
    const { wx } = this.options;
    return this.slot(
      () =>
        new Promise<Answer>((resolve, reject) => {
          if (!wx.request) return reject(unsupported('wx.request'));
          wx.request({
            url: this.absolute(path),
            method,
            data: body,
            header: header || {},
            success: (result: any) => {
              const answer = { status: result.statusCode, body: parsed(result.data), header: lower(result.header) };
              if (answer.status >= 400) reject(refused(answer.status, answer.body));
              else resolve(answer);
            },
            fail: (reason: any) => reject(unreachable(reason)),
          });
        }),
    );
  }

  /** `attempt` with a token, again with a new one where that was refused, and later where it helps. */
  withToken<T>(attempt: Attempt<T>, again: (error: GatewayError) => boolean = worthAnother): Promise<T> {
    const { attempts, visible } = this.options;
    let renewed = false;
    const go = (tried: number): Promise<T> =>
      visible()
        .then(() => this.identity().token())
        .then((token) =>
          attempt(token).catch((reason: any): Promise<T> => {
            const error = asError(reason);
            if ((error.code === 109 || error.code === 101) && !renewed) {
              renewed = true;
              this.identity().refused(token);
              return go(tried);
            }
            if (tried >= attempts || !again(error)) throw error;
            return pause(jitter(tried)).then(() => go(tried + 1));
          }),
        );
    return go(1);
  }

  /** Run `job` when a place is free. */
  slot<T>(job: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const start = () => {
        this.running++;
        const done = () => {
          this.running--;
          const next = this.waiting.shift();
          if (next) next();
        };
        job().then(
          (result) => {
            done();
            resolve(result);
          },
          (reason) => {
            done();
            reject(reason);
          },
        );
      };
      if (this.running < AT_ONCE) start();
      else this.waiting.push(start);
    });
  }
}

/** Where there is no JSON: a download in a browser cannot be read, and a proxy has its own pages. */
const CODE_OF_STATUS: { [status: number]: number } = { 401: 109, 403: 103, 404: 422, 413: 420, 415: 421 };

/** Whether the same again may go well: the gateway has not done it, or doing it twice does no harm. */
export function worthAnother(error: GatewayError): boolean {
  return error.temporary && error.code !== LocalCode.OFFLINE && error.code !== LocalCode.LOGIN;
}

export function unreachable(reason: any): GatewayError {
  const said = (reason && reason.errMsg) || String(reason);
  if (/domain list|url not in/.test(said)) {
    return new GatewayError(
      LocalCode.NETWORK,
      'The domain is not on the list of the mini-program: add it under request, uploadFile and downloadFile in the console, or tick "do not verify domains" in the developer tools (' + said + ').',
      reason,
      false,
    );
  }
  if (/abort/.test(said)) return new GatewayError(LocalCode.ENDED, 'Ended by the app.', reason, false);
  return new GatewayError(LocalCode.NETWORK, 'The gateway could not be reached: look at the network (' + said + ').', reason);
}

/** An answer that is a refusal; nginx or a proxy may have given it, without our JSON. */
export function refused(status: number, body: any): GatewayError {
  if (body && typeof body.code === 'number') {
    return new GatewayError(body.code, String(body.message || 'refused'), body, status === 503 || undefined);
  }
  const known = CODE_OF_STATUS[status];
  if (known) return new GatewayError(known, 'HTTP ' + status, body);
  const temporary = status >= 500 || status === 429 || status === 408;
  return new GatewayError(temporary ? 100 : 107, 'HTTP ' + status, body, temporary);
}

export function unsupported(what: string): GatewayError {
  return new GatewayError(LocalCode.UNSUPPORTED, 'This platform has no ' + what + '.', undefined, false);
}

export function parsed(data: any): any {
  if (typeof data !== 'string') return data;
  try {
    return JSON.parse(data);
  } catch (notJson) {
    return data;
  }
}

function lower(header: any): { [name: string]: string } {
  const result: { [name: string]: string } = {};
  Object.keys(header || {}).forEach((name) => {
    result[name.toLowerCase()] = String(header[name]);
  });
  return result;
}

/** Full jitter: at random up to a bound that doubles. */
export function jitter(tried: number): number {
  return Math.random() * Math.min(LONGEST_DELAY, FIRST_DELAY * Math.pow(2, tried));
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
