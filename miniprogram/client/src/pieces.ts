/**
 * Uploads in pieces (tus 1.0, as the gateway speaks it): what has come stays, and the rest goes on from there, after
 * a lost network and on another day.
 */

import type { Platform, StoredFile, UploadOptions } from './api';
import { GatewayError, LocalCode } from './errors';
import { Http, worthAnother } from './http';
import type { Storage } from './storage';
import type { Abortable } from './transfers';

const WRONG_OFFSET = 425;
const BUSY = 427;
const GONE = 422;
const VERSION = { 'Tus-Resumable': '1.0.0' };

export class Pieces {
  constructor(
    private readonly http: Http,
    private readonly wx: Platform,
    private readonly storage: Storage,
    private readonly pieceSize: number,
  ) {}

  upload(options: UploadOptions, fields: { [name: string]: string }, size: number, abortable: Abortable): Promise<StoredFile> {
    const name = 'upload.' + options.filePath + '.' + size;
    const kept: string | undefined = this.storage.get(name);
    const begun = kept
      ? this.offset(kept).then(
          (offset) => ({ url: kept, offset }),
          (error: GatewayError) => {
            if (error.code !== GONE) throw error;
            return this.create(fields, size);
          },
        )
      : this.create(fields, size);
    return begun.then(({ url, offset }) => {
      this.storage.set(name, url);
      const forget = () => this.storage.remove(name);
      return this.goOn(url, offset, size, options, abortable).then(
        () => {
          forget();
          return this.http.ask('GET', '/files/' + url.slice(url.lastIndexOf('/') + 1) + '/info').then((answer) => answer.body);
        },
        (error: GatewayError) => {
          if (!error.temporary && error.code !== LocalCode.ENDED) forget(); // refused: what is there is of no use
          throw error;
        },
      );
    });
  }

  private create(fields: { [name: string]: string }, size: number): Promise<{ url: string; offset: number }> {
    const metadata = Object.keys(fields).map((name) => (name === 'name' ? 'filename' : name) + ' ' + base64(fields[name]));
    const header: { [name: string]: string } = { ...VERSION, 'Upload-Length': String(size) };
    if (metadata.length) header['Upload-Metadata'] = metadata.join(',');
    return this.http
      .ask('POST', '/files/resumable', undefined, { header })
      .then((answer) => ({ url: answer.header.location, offset: 0 }));
  }

  private offset(url: string): Promise<number> {
    return this.http
      .ask('POST', url, undefined, { header: { ...VERSION, 'X-HTTP-Method-Override': 'HEAD' } })
      .then((answer) => Number(answer.header['upload-offset']));
  }

  private goOn(url: string, offset: number, size: number, options: UploadOptions, abortable: Abortable): Promise<void> {
    abortable.check();
    if (options.onProgress) options.onProgress({ progress: Math.floor((100 * offset) / size), sent: offset, total: size });
    if (offset >= size) return Promise.resolve();
    return this.read(options.filePath, offset, Math.min(this.pieceSize, size - offset))
      .then((data) => this.send(url, offset, data))
      .then((next) => this.goOn(url, next, size, options, abortable));
  }

  /** Where the next piece begins. After a failure the gateway is asked: the piece may have come in part. */
  private send(url: string, offset: number, data: ArrayBuffer): Promise<number> {
    const header = {
      ...VERSION,
      'X-HTTP-Method-Override': 'PATCH',
      'Content-Type': 'application/offset+octet-stream',
      'Upload-Offset': String(offset),
    };
    const lost = (error: GatewayError) => error.code === LocalCode.NETWORK || error.code === WRONG_OFFSET || error.code === BUSY;
    return this.http
      .ask('POST', url, data, { header, again: (error) => worthAnother(error) && !lost(error) })
      .then((answer) => Number(answer.header['upload-offset']))
      .catch((error: GatewayError) => {
        if (!lost(error)) throw error;
        return this.offset(url).then((there) => {
          if (there === offset && error.code === WRONG_OFFSET) throw error; // it says so, and it is not so
          return there;
        });
      });
  }

  private read(filePath: string, position: number, length: number): Promise<ArrayBuffer> {
    return new Promise((resolve, reject) => {
      (this.wx.getFileSystemManager as () => any)().readFile({
        filePath,
        position,
        length,
        success: (result: any) => resolve(result.data),
        fail: (reason: any) =>
          reject(new GatewayError(107, 'the file cannot be read: it has to be there until the upload has ended', reason, false)),
      });
    });
  }
}

/** The file system where it can do this: in a browser Taro has one that can do nothing. */
export function fileSystem(wx: Platform, method: string): any {
  const files = wx.getFileSystemManager && wx.getFileSystemManager();
  return files && typeof files[method] === 'function' ? files : null;
}

/** 0 where the platform does not tell. */
export function fileSize(wx: Platform, filePath: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const files = fileSystem(wx, 'getFileInfo');
    if (!files) return resolve(0);
    files.getFileInfo({
      filePath,
      success: (result: any) => resolve(result.size),
      fail: (reason: any) => reject(new GatewayError(107, 'there is no such file: ' + filePath, reason, false)),
    });
  });
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** Of the UTF-8 of a text: phones have no btoa. */
export function base64(text: string): string {
  const bytes = encodeURIComponent(text).replace(/%([0-9A-F]{2})/g, (_, code) => String.fromCharCode(parseInt(code, 16)));
  let result = '';
  for (let at = 0; at < bytes.length; at += 3) {
    const [one, two, three] = [bytes.charCodeAt(at), bytes.charCodeAt(at + 1), bytes.charCodeAt(at + 2)];
    result += ALPHABET[one >> 2] + ALPHABET[((one & 3) << 4) | (two >> 4)];
    result += at + 1 < bytes.length ? ALPHABET[((two & 15) << 2) | (three >> 6)] : '=';
    result += at + 2 < bytes.length ? ALPHABET[three & 63] : '=';
  }
  return result;
}
