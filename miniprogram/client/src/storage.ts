/** wx storage. A phone whose storage is full or locked still works, and signs in anew next time. */

import type { Platform } from './api';

export class Storage {
  private readonly memory: { [key: string]: any } = {};

  constructor(
    private readonly wx: Platform,
    private readonly prefix: string,
    private readonly failed: (reason: unknown) => void,
  ) {}

  get(name: string): any {
    if (name in this.memory) return this.memory[name];
    let value: any;
    try {
      value = this.wx.getStorageSync ? this.wx.getStorageSync(this.key(name)) : undefined;
    } catch (reason) {
      this.failed(reason);
    }
    return value === '' || value === null ? undefined : value;
  }

  set(name: string, value: any): void {
    try {
      if (this.wx.setStorageSync) {
        this.wx.setStorageSync(this.key(name), value);
        delete this.memory[name];
        return;
      }
    } catch (reason) {
      this.failed(reason);
    }
    this.memory[name] = value;
  }

  remove(name: string): void {
    delete this.memory[name];
    try {
      if (this.wx.removeStorageSync) this.wx.removeStorageSync(this.key(name));
    } catch (reason) {
      this.failed(reason);
    }
  }

  private key(name: string): string {
    return this.prefix + '.' + name;
  }
}
