// The part of `wx` that the phones' library uses, in a browser: what a mini-program on this device would see.

import type { Device } from './device';
import { type Journal, sizeOf } from './journal';
import { SocketTask } from './socket';

interface Callbacks {
  success?: (result: any) => void;
  fail?: (error: any) => void;
  complete?: (result: any) => void;
}
interface Request extends Callbacks {
  url: string;
  method?: string;
  data?: unknown;
  header?: Record<string, string>;
  dataType?: string;
  responseType?: string;
  timeout?: number;
}
interface Upload extends Callbacks {
  url: string;
  filePath: string;
  name: string;
  header?: Record<string, string>;
  formData?: Record<string, string>;
}

const NO_NETWORK = { errMsg: 'request:fail net::ERR_INTERNET_DISCONNECTED', errno: 600001 };

/** What stays on the phone when the app is killed. */
export class Disk {
  readonly storage = new Map<string, unknown>();
  readonly files = new Map<string, Blob>();
  private count = 0;

  /** A path for `blob`, as `wx.chooseMedia` would give it. */
  put(blob: Blob): string {
    this.count += 1;
    const path = `wxfile://tmp_${this.count}`;
    this.files.set(path, blob);
    return path;
  }
}

/** Arguments: `user` is who signs in with the stand-in for WeChat at `sandbox`. */
export function createWx(device: Device, disk: Disk, journal: Journal, sandbox: URL, user: string, appid: string) {
  const settle = (options: Callbacks, error: unknown, result: unknown): void => {
    if (!device.running.value) return; // whoever asked is no more
    if (error) options.fail?.(error);
    else options.success?.(result);
    options.complete?.(error ?? result);
  };
  /** After as long as it takes over this network; fails without one. */
  const travel = async (size: number): Promise<void> => {
    if (!device.reachable) throw NO_NETWORK;
    const wait = device.arrival(0, 0, size);
    if (wait) await new Promise((done) => setTimeout(done, wait));
    if (!device.reachable) throw NO_NETWORK;
  };

  return {
    connectSocket(options: { url: string } & Callbacks): SocketTask {
      const task = new SocketTask(options.url, device, journal);
      // Success says only that the task was made.
      setTimeout(() => settle(options, null, { errMsg: 'connectSocket:ok' }));
      return task;
    },

    login(options: Callbacks): void {
      const ask = async (): Promise<unknown> => {
        await travel(200);
        const response = await fetch(sandbox, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json' },
          body: JSON.stringify({ user, ...(appid && { appid }) }),
        });
        if (!response.ok) throw { errMsg: `login:fail ${response.status}` };
        journal.device('w_login');
        return { code: ((await response.json()) as { code: string }).code, errMsg: 'login:ok' };
      };
      ask().then((result) => settle(options, null, result), (error: unknown) => settle(options, error, null));
    },

    checkSession(options: Callbacks): void {
      setTimeout(() => settle(options, null, { errMsg: 'checkSession:ok' }));
    },

    request(options: Request) {
      const control = new AbortController();
      const ask = async (): Promise<unknown> => {
        const { method = 'GET', data, header = {} } = options;
        const target = new URL(options.url);
        let body: BodyInit | undefined;
        if (method === 'GET' && data && typeof data === 'object') {
          for (const [key, value] of Object.entries(data)) target.searchParams.set(key, String(value));
        } else if (data !== undefined && method !== 'GET') {
          body = typeof data === 'string' || data instanceof ArrayBuffer ? data : JSON.stringify(data);
        }
        journal.phone('w_http', { method, path: target.pathname });
        await travel(body instanceof ArrayBuffer ? body.byteLength : 500);
        const headers = { ...(body !== undefined && { 'content-type': 'application/json' }), ...header };
        const init: RequestInit = { method, headers, signal: control.signal, credentials: 'omit' };
        if (body !== undefined) init.body = body;
        const response = await fetch(target, init);
        journal.gateway('w_http_answer', { status: response.status });
        const fields = Object.fromEntries(response.headers);
        if (options.responseType === 'arraybuffer') {
          return { statusCode: response.status, header: fields, data: await response.arrayBuffer(), errMsg: 'request:ok' };
        }
        const text = await response.text();
        return { statusCode: response.status, header: fields, data: parsed(text), errMsg: 'request:ok' };
      };
      ask().then(
        (result) => settle(options, null, result),
        (error: unknown) => settle(options, failure('request', error), null),
      );
      return { abort: () => control.abort(), onHeadersReceived: () => undefined };
    },

    uploadFile(options: Upload) {
      const progress: ((event: object) => void)[] = [];
      const request = new XMLHttpRequest();
      const begin = async (): Promise<void> => {
        const blob = disk.files.get(options.filePath);
        if (!blob) throw { errMsg: 'uploadFile:fail file not found' };
        const form = new FormData();
        for (const [key, value] of Object.entries(options.formData ?? {})) form.append(key, value);
        form.append(options.name, blob, blob instanceof File ? blob.name : 'picture');
        journal.phone('w_upload', { size: sizeOf(blob) });
        await travel(blob.size);
        request.open('POST', options.url);
        for (const [key, value] of Object.entries(options.header ?? {})) request.setRequestHeader(key, value);
        request.upload.onprogress = ({ loaded, total }) => {
          const event = {
            progress: Math.floor((loaded / total) * 100), totalBytesSent: loaded, totalBytesExpectedToSend: total,
          };
          for (const listener of progress) listener(event);
        };
        request.onload = () => {
          journal.gateway('w_uploaded', { status: request.status });
          settle(options, null, { statusCode: request.status, data: request.responseText, errMsg: 'uploadFile:ok' });
        };
        request.onerror = () => settle(options, failure('uploadFile', NO_NETWORK), null);
        request.onabort = () => settle(options, { errMsg: 'uploadFile:fail abort' }, null);
        request.send(form);
      };
      begin().catch((error: unknown) => settle(options, failure('uploadFile', error), null));
      return {
        abort: () => request.abort(),
        onProgressUpdate: (listener: (event: object) => void) => progress.push(listener),
        onHeadersReceived: () => undefined,
      };
    },

    downloadFile(options: Request) {
      const control = new AbortController();
      const progress: ((event: object) => void)[] = [];
      const fetchIt = async (): Promise<unknown> => {
        await travel(500);
        const init = { headers: options.header ?? {}, signal: control.signal, credentials: 'omit' as const };
        const response = await fetch(options.url, init);
        const blob = await response.blob();
        if (device.slow) await travel(blob.size);
        for (const listener of progress) {
          listener({ progress: 100, totalBytesWritten: blob.size, totalBytesExpectedToWrite: blob.size });
        }
        return { statusCode: response.status, tempFilePath: disk.put(blob), errMsg: 'downloadFile:ok' };
      };
      fetchIt().then(
        (result) => settle(options, null, result),
        (error: unknown) => settle(options, failure('downloadFile', error), null),
      );
      return {
        abort: () => control.abort(),
        onProgressUpdate: (listener: (event: object) => void) => progress.push(listener),
        onHeadersReceived: () => undefined,
      };
    },

    getFileSystemManager() {
      return {
        stat({ path, ...options }: { path: string } & Callbacks): void {
          const blob = disk.files.get(path);
          const stats = { size: blob?.size ?? 0, isFile: () => true, isDirectory: () => false };
          settle(options, blob ? null : { errMsg: 'stat:fail no such file' }, { stats, errMsg: 'stat:ok' });
        },
        getFileInfo({ filePath, ...options }: { filePath: string } & Callbacks): void {
          const blob = disk.files.get(filePath);
          const error = blob ? null : { errMsg: 'getFileInfo:fail no such file' };
          settle(options, error, { size: blob?.size ?? 0, errMsg: 'getFileInfo:ok' });
        },
        readFile({ filePath, position = 0, length, ...options }: { filePath: string; position?: number; length?: number } & Callbacks): void {
          const blob = disk.files.get(filePath);
          if (!blob) {
            settle(options, { errMsg: 'readFile:fail no such file' }, null);
            return;
          }
          const end = length === undefined ? blob.size : position + length;
          void blob.slice(position, end).arrayBuffer().then((data) => settle(options, null, { data, errMsg: 'readFile:ok' }));
        },
      };
    },

    getStorageSync: (key: string): unknown => disk.storage.get(key) ?? '',
    setStorageSync: (key: string, value: unknown): void => {
      if (device.running.value) disk.storage.set(key, structuredClone(value));
    },
    removeStorageSync: (key: string): void => {
      if (device.running.value) disk.storage.delete(key);
    },
    onAppShow: (listener: (event: object) => void): void => device.onAppShow(listener),
    onAppHide: (listener: (event: object) => void): void => device.onAppHide(listener),
    onNetworkStatusChange: (listener: (event: { isConnected: boolean; networkType: string }) => void): void =>
      device.onNetworkStatusChange(listener),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

function failure(what: string, error: unknown): object {
  if (error && typeof error === 'object' && 'errMsg' in error) {
    return { ...error, errMsg: String(error.errMsg).replace(/^\w+:/, `${what}:`) };
  }
  return { errMsg: `${what}:fail ${(error as Error).message}` };
}
