/** What needs the session key, which stays in the gateway; and what the user allows by a tap. */

import type { EncryptedData, Granted, PhoneNumber, Platform, UserInfo } from './api';
import { GatewayError, LocalCode } from './errors';
import { unsupported } from './http';
import type { Http } from './http';

const STALE = 405;

export class OpenData {
  constructor(
    private readonly http: Http,
    private readonly wx: Platform,
    /** Sign in with a new code, so that gateway and phone have the same key. */
    private readonly renew: () => Promise<unknown>,
  ) {}

  /** On a stale key the gateway gets the present one, so that what is fetched after this fits. */
  decrypt(data: EncryptedData): Promise<UserInfo> {
    const { rawData, signature, encryptedData, iv } = data;
    return this.post<UserInfo>('/wx/userinfo', { rawData, signature, encryptedData, iv }).catch((error: GatewayError) => {
      if (error.code !== STALE) throw error;
      return this.renew().then(() => {
        throw error;
      });
    });
  }

  /** The session is looked at first; data that is stale all the same is fetched once more, and only once. */
  openData(fetch: () => Promise<EncryptedData> = () => this.getUserInfo()): Promise<UserInfo> {
    const go = () => fetch().then((data) => this.decrypt(data));
    return this.checkSession()
      .then(go)
      .catch((error: GatewayError) => {
        if (error.code !== STALE) throw error;
        return go();
      });
  }

  phone(given: { code?: string; detail?: { code?: string; errMsg?: string } }): Promise<PhoneNumber> {
    const detail = given.detail || given;
    if (!detail.code) {
      const said = (given.detail && given.detail.errMsg) || 'no code';
      return Promise.reject(new GatewayError(LocalCode.REFUSED, 'The user did not give a number (' + said + ').', given, false));
    }
    return this.post('/wx/phone', { code: detail.code });
  }

  ask(templateIds: string[]): Promise<Granted> {
    const { wx } = this;
    return new Promise((resolve, reject) => {
      if (!wx.requestSubscribeMessage) return reject(unsupported('wx.requestSubscribeMessage'));
      wx.requestSubscribeMessage({
        tmplIds: templateIds,
        success: (result: any) => {
          const granted: Granted = {};
          templateIds.forEach((id) => {
            if (result[id]) granted[id] = result[id];
          });
          resolve(granted);
        },
        fail: (reason: any) => reject(notAsked(reason)),
      });
    });
  }

  private post<T>(path: string, body: any): Promise<T> {
    return this.http.ask('POST', path, body).then((answer) => answer.body);
  }

  /** Resolved once phone and gateway have the same key, as far as the phone knows. */
  private checkSession(): Promise<unknown> {
    const { wx } = this;
    if (!wx.checkSession) return Promise.resolve();
    return new Promise<boolean>((resolve) => {
      (wx.checkSession as (options: any) => void)({ success: () => resolve(true), fail: () => resolve(false) });
    }).then((good) => (good ? undefined : this.renew()));
  }

  private getUserInfo(): Promise<EncryptedData> {
    const { wx } = this;
    return new Promise((resolve, reject) => {
      if (!wx.getUserInfo) return reject(unsupported('wx.getUserInfo'));
      wx.getUserInfo({
        withCredentials: true,
        success: resolve,
        fail: (reason: any) => reject(new GatewayError(LocalCode.REFUSED, 'The user, or WeChat, said no (' + said(reason) + ').', reason, false)),
      });
    });
  }
}

function notAsked(reason: any): GatewayError {
  const text =
    reason && reason.errCode === 20004
      ? 'The user has switched messages off: show how to switch them on in the settings'
      : 'WeChat did not ask: call requestSubscribeMessage from a tap, with at most 3 templates of this mini-program';
  return new GatewayError(LocalCode.REFUSED, text + ' (' + said(reason) + ').', reason, false);
}

function said(reason: any): string {
  return (reason && reason.errMsg) || String(reason);
}
