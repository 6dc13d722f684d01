/** Files: in one request, and down again. Larger ones go in pieces (see `pieces.ts`). */

import type { Downloaded, DownloadOptions, Platform, Progress, StoredFile, Transfer, UploadOptions } from './api';
import { tell } from './callbacks';
import { GatewayError, LocalCode, asError } from './errors';
import { Http, parsed, refused, unreachable, unsupported, worthAnother } from './http';
import { Pieces, fileSize, fileSystem } from './pieces';
import type { Storage } from './storage';

export interface TransferOptions {
  wx: Platform;
  resumableFrom: number;
  pieceSize: number;
}

/** What `abort()` reaches. */
export class Abortable {
  aborted = false;
  private task: any = null;

  /** The task of wx that runs now. */
  run(task: any): void {
    this.task = task;
    if (this.aborted) this.stop();
  }

  abort(): void {
    this.aborted = true;
    this.stop();
  }

  check(): void {
    if (this.aborted) throw new GatewayError(LocalCode.ENDED, 'Ended by the app.', undefined, false);
  }

  private stop(): void {
    if (this.task && typeof this.task.abort === 'function') this.task.abort();
  }
}

export class Transfers {
  private readonly pieces: Pieces;

  constructor(
    private readonly http: Http,
    private readonly options: TransferOptions,
    storage: Storage,
  ) {
    this.pieces = new Pieces(http, options.wx, storage, options.pieceSize);
  }

  upload(options: UploadOptions): Transfer<StoredFile> {
    const abortable = new Abortable();
    const done = this.size(options.filePath).then((size) => {
      abortable.check();
      const inPieces = size > this.options.resumableFrom && fileSystem(this.options.wx, 'readFile') !== null;
      return inPieces ? this.pieces.upload(options, fields(options), size, abortable) : this.whole(options, abortable);
    });
    return transfer(done.then((file) => this.located(file)), abortable, options);
  }

  download(options: DownloadOptions): Transfer<Downloaded> {
    const abortable = new Abortable();
    return transfer(this.fetch(options, abortable), abortable, options);
  }

  link(id: string, expiresIn?: string | number): Promise<string> {
    const body = expiresIn === undefined ? {} : { expires_in: expiresIn };
    return this.http
      .ask('POST', '/files/' + encodeURIComponent(id) + '/link', body)
      .then((answer) => this.http.absolute(answer.body.url));
  }

  private located(file: StoredFile): StoredFile {
    return { ...file, url: this.http.absolute(file.url) };
  }

  /** 0 where the platform does not tell: then it goes in one request. */
  private size(filePath: string): Promise<number> {
    return fileSize(this.options.wx, filePath);
  }

  // ---------------------------------------------------------------- up
  private whole(options: UploadOptions, abortable: Abortable): Promise<StoredFile> {
    let everythingLeft = false;
    const attempt = (token: string) => {
      abortable.check();
      everythingLeft = false;
      return this.http.slot(() =>
        this.send(options, token, abortable, (progress) => {
          everythingLeft = progress.total > 0 && progress.sent >= progress.total;
          if (options.onProgress) options.onProgress(progress);
        }),
      );
    };
    // An answer that was lost may belong to a file that is published already: not a second time.
    const again = (error: GatewayError) =>
      worthAnother(error) && !(error.code === LocalCode.NETWORK && everythingLeft && options.channel);
    return this.http.withToken(attempt, again);
  }

  private send(options: UploadOptions, token: string, abortable: Abortable, progress: (progress: Progress) => void): Promise<StoredFile> {
    const { wx } = this.options;
    return new Promise((resolve, reject) => {
      if (!wx.uploadFile) return reject(unsupported('wx.uploadFile'));
      const task = wx.uploadFile({
        url: this.http.absolute('/files'),
        filePath: options.filePath,
        name: 'file',
        header: { Authorization: 'Bearer ' + token },
        formData: fields(options),
        success: (result: any) => {
          const body = parsed(result.data);
          if (result.statusCode === 200) resolve(body);
          else reject(refused(result.statusCode, body));
        },
        fail: (reason: any) => reject(unreachable(reason)),
      });
      abortable.run(task);
      if (task && typeof task.onProgressUpdate === 'function') {
        task.onProgressUpdate((event: any) =>
          progress({ progress: event.progress, sent: event.totalBytesSent, total: event.totalBytesExpectedToSend }),
        );
      }
    });
  }

  // ---------------------------------------------------------------- down
  private fetch(options: DownloadOptions, abortable: Abortable): Promise<Downloaded> {
    const path = options.url || '/files/' + encodeURIComponent(options.id || '');
    if (!options.url && !options.id) {
      return Promise.reject(new GatewayError(107, 'download needs an id or a url', undefined, false));
    }
    const absolute = this.http.absolute(path);
    const url = options.width ? absolute + (absolute.indexOf('?') < 0 ? '?' : '&') + 'w=' + options.width : absolute;
    const get = (token: string) => {
      abortable.check();
      return this.http.slot(() => this.get(url, token, options, abortable));
    };
    // What is not the gateway's gets no token.
    return this.http.isOurs(url) ? this.http.withToken(get) : get('');
  }

  private get(url: string, token: string, options: DownloadOptions, abortable: Abortable): Promise<Downloaded> {
    const { wx } = this.options;
    return new Promise((resolve, reject) => {
      if (!wx.downloadFile) return reject(unsupported('wx.downloadFile'));
      const request: any = {
        url,
        // Not Authorization: a redirect to an S3 store carries the headers along, and the store refuses that one.
        header: token ? { 'X-WX-Token': token } : {},
        success: (result: any) => {
          if (result.statusCode === 200 || result.statusCode === 206) {
            const tempFilePath = result.tempFilePath || result.filePath || options.filePath;
            resolve({ tempFilePath, filePath: result.filePath, statusCode: result.statusCode });
          } else {
            this.read(result.tempFilePath || result.filePath).then((body) => reject(refused(result.statusCode, body)));
          }
        },
        fail: (reason: any) => reject(unreachable(reason)),
      };
      if (options.filePath) request.filePath = options.filePath;
      const task = wx.downloadFile(request);
      abortable.run(task);
      if (options.onProgress && task && typeof task.onProgressUpdate === 'function') {
        const { onProgress } = options;
        task.onProgressUpdate((event: any) =>
          onProgress({ progress: event.progress, sent: event.totalBytesWritten, total: event.totalBytesExpectedToWrite }),
        );
      }
    });
  }

  /** The error that was written into the file, where that can be read. */
  private read(path: string | undefined): Promise<any> {
    return new Promise((resolve) => {
      const files = fileSystem(this.options.wx, 'readFile');
      if (!path || !files) return resolve(null);
      files.readFile({
        filePath: path,
        encoding: 'utf8',
        success: (result: any) => resolve(parsed(result.data)),
        fail: () => resolve(null),
      });
    });
  }
}

/** The fields of the form. wx makes texts of them, and of an object not a useful one. */
function fields(options: UploadOptions): { [name: string]: string } {
  const result: { [name: string]: string } = { ...options.formData };
  const visibility = options.visibility || (options.channel ? 'channel' : undefined);
  if (options.channel) result.channel = options.channel;
  if (visibility) result.visibility = visibility;
  if (options.name) result.name = options.name;
  if (options.expiresIn !== undefined) result.expires_in = String(options.expiresIn);
  return result;
}

function transfer<T>(done: Promise<T>, abortable: Abortable, callbacks: any): Transfer<T> {
  const promise = done.then(undefined, (reason) => {
    throw asError(reason);
  });
  const result = tell(promise, callbacks) as Transfer<T>;
  result.abort = () => abortable.abort();
  return result;
}
