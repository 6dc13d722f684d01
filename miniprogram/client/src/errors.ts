/** Errors that say what to do. */

import type { GatewayFailure, LocalCodes } from './api';

/** Codes of failures that happen on the phone. */
export const LocalCode: LocalCodes = {
  TIMEOUT: 1,
  CONNECTION_LOST: 2,
  OFFLINE: 3,
  QUEUE_FULL: 4,
  LOGIN: 5,
  ENDED: 6,
  NETWORK: 7,
  UNSUPPORTED: 8,
  HANDLER: 9,
  REFUSED: 10,
};

const TEMPORARY: number[] = [1, 2, 3, 4, 5, 7, 100, 111, 400, 402, 426, 427];

/** What to do, by code; what the server said comes first. */
const ADVICE: { [code: number]: string } = {
  100: 'Try again later.',
  101: 'Sign in first.',
  102: 'The namespace before the ":" is not configured on the gateway.',
  103: 'The options of the channel do not let this user do that.',
  104: 'No handler of the backend has this name.',
  105: 'Use the subscription that is there.',
  106: 'Unsubscribe from channels that no page shows.',
  107: 'Mend the call.',
  108: 'The channel has no history or presence, or nobody answers rpc.',
  109: 'Sign in again: connect() does it by itself.',
  111: 'Send less often, and try again later.',
  400: 'Try again later.',
  401: 'Stop, and say so to the user: WeChat blocked the account, another try changes nothing.',
  402: 'Try again later; the log of the gateway names the setting that is wrong.',
  403: 'Give createGateway the appid of this mini-program, and the gateway its secret.',
  404: 'Send less, or upload it as a file.',
  405: 'Call wx.getUserInfo again and send what it gives now; openData() does it by itself.',
  406: 'Ask the user for another tap on the button.',
  420: 'Choose a smaller file.',
  421: 'Choose a file of another type.',
  422: 'It is gone, or this user may not read it.',
  423: 'Try again tomorrow.',
  424: 'The backend does not accept this file.',
  3500: 'Sign in again: call connect().',
  3501: 'The gateway did not understand this client.',
  3503: 'The backend ended this connection: call connect() when the user wants to come back.',
  3504: 'Too many connections of this user: close the others.',
  3505: 'Unsubscribe from channels that no page shows.',
  4500: 'The user is connected elsewhere: call connect() when this phone is to take over.',
  4501: 'The user signed out: call connect() to sign in again.',
};

/** See `GatewayFailure`. */
export class GatewayError extends Error implements GatewayFailure {
  code: number;
  temporary: boolean;
  errMsg: string;
  cause?: unknown;

  constructor(code: number, text: string, cause?: unknown, temporary?: boolean) {
    super(text);
    // Of a class that was translated to ES5, `new` gives a plain Error.
    const setPrototypeOf = (Object as any).setPrototypeOf as ((object: any, prototype: any) => void) | undefined;
    if (setPrototypeOf) setPrototypeOf(this, GatewayError.prototype);
    const advice = ADVICE[code];
    this.name = 'GatewayError';
    this.code = code;
    this.message = advice ? sentence(text) + advice : text;
    this.errMsg = 'gateway:fail ' + this.message;
    this.temporary = temporary === undefined ? TEMPORARY.indexOf(code) >= 0 : temporary;
    if (cause !== undefined) this.cause = cause;
  }
}

/** Any failure as one of ours: of centrifuge, of the gateway over HTTP, of wx, of a handler. */
export function asError(reason: any, code: number = LocalCode.NETWORK, text?: string): GatewayError {
  if (reason instanceof GatewayError) return reason;
  if (reason && typeof reason.code === 'number' && typeof reason.message === 'string') {
    return local(reason) || new GatewayError(reason.code, reason.message, reason, reason.temporary);
  }
  const said = (reason && (reason.errMsg || reason.message)) || String(reason);
  return new GatewayError(code, text ? text + ' (' + said + ')' : said, reason);
}

/** centrifuge's own codes, which begin at 1 as ours do. */
function local(reason: { code: number; message: string }): GatewayError | null {
  if (reason.code >= 100) return null;
  if (reason.code === 1) return timeout(reason);
  if (reason.code === 2 || reason.code === 11 || reason.code === 10) return lost(reason);
  return new GatewayError(LocalCode.ENDED, 'Ended by the app: ' + reason.message + '.', reason);
}

export function timeout(cause?: unknown): GatewayError {
  return new GatewayError(LocalCode.TIMEOUT, 'No answer in time. The gateway may have done it: look before you try again.', cause);
}

export function lost(cause?: unknown): GatewayError {
  return new GatewayError(
    LocalCode.CONNECTION_LOST,
    'The connection broke before the answer. The gateway may have done it: look before you try again.',
    cause,
  );
}

function sentence(text: string): string {
  return /[.!?。！？]$/.test(text) ? text + ' ' : text + '. ';
}
