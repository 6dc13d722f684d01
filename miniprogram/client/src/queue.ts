/** Calls that wait for the connection: in order, bounded in number, bytes and time. */

import { GatewayError, LocalCode } from './errors';

export interface QueueLimits {
  calls: number;
  bytes: number;
  /** Milliseconds. */
  time: number;
}

interface Waiting {
  run: () => void;
  fail: (error: GatewayError) => void;
  size: number;
  timer: any;
}

export class Queue {
  private waiting: Waiting[] = [];
  private bytes = 0;

  constructor(private readonly limits: QueueLimits) {}

  get length(): number {
    return this.waiting.length;
  }

  /** `run` once there is a connection. Rejected where it does not fit, or waited too long. */
  add<T>(run: () => Promise<T>, size: number): Promise<T> {
    const { calls, bytes, time } = this.limits;
    if (this.waiting.length >= calls || this.bytes + size > bytes) {
      const text = 'Too much waits for the connection already: send less while offline, or raise queueLimit and queueBytes.';
      return Promise.reject(new GatewayError(LocalCode.QUEUE_FULL, text));
    }
    return new Promise<T>((resolve, reject) => {
      const entry: Waiting = { run: () => run().then(resolve, reject), fail: reject, size, timer: 0 };
      entry.timer = setTimeout(() => {
        this.waiting = this.waiting.filter((each) => each !== entry);
        this.bytes -= size;
        reject(new GatewayError(LocalCode.OFFLINE, 'No connection in time; it was not sent. Try again later.'));
      }, time);
      this.waiting.push(entry);
      this.bytes += size;
    });
  }

  /** There is a connection. */
  flush(): void {
    this.take().forEach((each) => each.run());
  }

  /** There will be none. */
  fail(error: GatewayError): void {
    this.take().forEach((each) => each.fail(error));
  }

  private take(): Waiting[] {
    const taken = this.waiting;
    this.waiting = [];
    this.bytes = 0;
    taken.forEach((each) => clearTimeout(each.timer));
    return taken;
  }
}
