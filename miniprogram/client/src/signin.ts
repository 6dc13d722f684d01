/**
 * Who the user is: a stored token first, `wx.login` only where there is none or the gateway asks.
 *
 * - One `wx.login` at a time. A code that has not left the phone is used by the next attempt; one that has is spent.
 * - A token that was refused (109, 101, 3500) is forgotten, also in storage.
 * - 401 (WeChat's 40226: the account is blocked) ends it: no other `wx.login` for ten minutes.
 */

import type { Platform } from './api';
import { GatewayError, LocalCode, asError } from './errors';
import { unsupported } from './http';
import type { Storage } from './storage';

/** WeChat takes a code for five minutes. */
const CODE_LIFETIME = 4 * 60 * 1000;
const BLOCKED_FOR = 10 * 60 * 1000;
/** Codes refused in a row: then the appid or the secret is wrong, and another code changes nothing. */
const MAX_REFUSED_CODES = 5;

/** What the HTTP side needs of it. */
export interface Identity {
  /** One that is good, as far as is known. */
  token(): Promise<string>;
  /** This one is not. */
  refused(token: string): void;
}

export interface SignInOptions {
  wx: Platform;
  appid?: string;
  getToken?: () => Promise<string> | string;
}

/** What a code was exchanged for. */
export interface SignedIn {
  token: string;
  openid?: string;
  unionid?: string;
}

interface Code {
  value: string;
  /** Unix milliseconds. */
  at: number;
}

export class SignIn {
  openid: string | undefined;
  unionid: string | undefined;
  /** A sign-in by HTTP on its way: the socket waits for its token instead of sending the same code. */
  overHttp: Promise<unknown> | null = null;
  private current: string;
  private code: Code | null = null;
  private sentCode: Code | null = null;
  private login: Promise<string> | null = null;
  private refusedCodes = 0;
  private blocked: { error: GatewayError; until: number } | null = null;

  constructor(
    private readonly options: SignInOptions,
    private readonly storage: Storage,
  ) {
    const kept = options.getToken ? null : storage.get('session');
    this.current = (kept && kept.token) || '';
    this.openid = kept && kept.openid;
    this.unionid = kept && kept.unionid;
  }

  /** '' where there is none. */
  get token(): string {
    return this.current;
  }

  /** The token of the team's own backend, where that signs in. */
  ownToken(): Promise<string> {
    const getToken = this.options.getToken;
    if (!getToken) return Promise.resolve(this.current);
    return Promise.resolve()
      .then(getToken)
      .then(
        (token) => (this.current = token || ''),
        (reason) => {
          throw new GatewayError(LocalCode.LOGIN, 'getToken failed: ' + asError(reason).message, reason);
        },
      );
  }

  get isOwn(): boolean {
    return Boolean(this.options.getToken);
  }

  /** A code that has not been sent; raises the reason where another would change nothing. */
  freshCode(): Promise<string> {
    const blocked = this.isBlocked();
    if (blocked) return Promise.reject(blocked);
    if (this.refusedCodes >= MAX_REFUSED_CODES) {
      this.refusedCodes = 0;
      return Promise.reject(
        new GatewayError(403, 'WeChat refuses the codes of this mini-program: its appid is not the one of the gateway. Give createGateway the appid, and the gateway its secret.', undefined, false),
      );
    }
    if (this.code && Date.now() - this.code.at < CODE_LIFETIME) return Promise.resolve(this.code.value);
    this.login = this.login || this.wxLogin();
    return this.login;
  }

  private wxLogin(): Promise<string> {
    const { wx } = this.options;
    const login = new Promise<string>((resolve, reject) => {
      if (!wx.login) return reject(unsupported('wx.login: give createGateway a getToken'));
      wx.login({
        success: (result: any) => {
          if (!result.code) return reject(loginFailed(result));
          this.code = { value: result.code, at: Date.now() };
          resolve(result.code);
        },
        fail: (reason: any) => reject(loginFailed(reason)),
      });
    });
    const done = () => {
      this.login = null;
    };
    login.then(done, done);
    return login;
  }

  /** It has left the phone: it can be used by nobody else now. */
  codeSent(code: string): void {
    if (!this.code || this.code.value !== code) return;
    this.sentCode = this.code;
    this.code = null;
  }

  /** The gateway was too busy to look at the one that was sent: it is good for another attempt. */
  codeUnspent(): void {
    this.code = this.code || this.sentCode;
    this.sentCode = null;
  }

  /** A code was exchanged, or a token accepted. */
  accepted(data: Partial<SignedIn> | undefined): void {
    this.refusedCodes = 0;
    this.blocked = null;
    if (!data) return;
    this.openid = data.openid || this.openid;
    this.unionid = data.unionid || this.unionid;
    if (data.token && !this.isOwn) {
      this.current = data.token;
      this.storage.set('session', { token: data.token, openid: this.openid, unionid: this.unionid });
    }
  }

  /** Not good any more. An answer to an older token than the present one changes nothing. */
  refused(token: string): void {
    if (token && token !== this.current) return;
    this.forget();
  }

  /** The code was used before, is too old, or of another mini-program. */
  codeRefused(): void {
    this.refusedCodes++;
  }

  /** WeChat refuses this user. */
  block(error: GatewayError): void {
    this.blocked = { error, until: Date.now() + BLOCKED_FOR };
  }

  isBlocked(): GatewayError | null {
    return this.blocked && this.blocked.until > Date.now() && !this.current ? this.blocked.error : null;
  }

  forget(): void {
    this.current = '';
    this.storage.remove('session');
  }

  /** Another user may sign in next. */
  forgetUser(): void {
    this.forget();
    this.openid = this.unionid = undefined;
    this.blocked = null;
    this.code = null;
  }
}

function loginFailed(reason: any): GatewayError {
  const said = (reason && reason.errMsg) || 'no code';
  return new GatewayError(LocalCode.LOGIN, 'wx.login failed, look at the network (' + said + ').', reason);
}
