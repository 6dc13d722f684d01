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

/**
 * What to do, beside the gateway's own text for a code. Only to that text alone: where the gateway says more, or the
 * team's backend has a text of its own, advice would be beside the point. Without a text here it is always true.
 */
const ADVICE: { [code: number]: [string, string] } = {
  100: ['internal server error', 'Try again later.'],
  101: ['unauthorized', 'Sign in first.'],
  104: ['method not found', 'No handler of the backend has this name.'],
  106: ['limit exceeded', 'Unsubscribe from channels that no page shows.'],
  109: ['token expired', 'Sign in again: connect() does it by itself.'],
  111: ['too many requests', 'Send less often, and try again later.'],
  401: ['WeChat refuses this user', 'Stop, and say so to the user: WeChat blocked the account, another try changes nothing.'],
  402: ['sign-in is not available: the operator has been told', 'Try again later; the log of the gateway names the setting that is wrong.'],
  403: ['unknown appid', 'Give createGateway the appid of this mini-program, and the gateway its secret.'],
  404: ['message too large', 'Send less, or upload it as a file.'],
  405: ['session_key_stale: sign in again with a new wx.login code', 'Call wx.getUserInfo again and send what it gives now; openData() does it by itself.'],
  420: ['', 'Choose a smaller file.'],
  421: ['', 'Choose a file of another type.'],
  422: ['no such file', 'It is gone, or this user may not read it.'],
  423: ['', 'Try again tomorrow.'],
  3500: ['invalid token', 'Sign in again: call connect().'],
  3503: ['force disconnect', 'The backend ended this connection: call connect() when the user wants to come back.'],
  3504: ['connection limit', 'Too many connections of this user: close the others.'],
  3505: ['channel limit', 'Unsubscribe from channels that no page shows.'],
  4500: ['replaced by a newer connection of this user', 'Call connect() when this phone is to take over.'],
  4501: ['signed out', 'Call connect() to sign in again.'],
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
    this.message = advice && (!advice[0] || advice[0] === text) ? text + '. ' + advice[1] : text;
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
