/** Messages of the inbox: acknowledged after their handlers ran, handled once however often they come. */

import type { Publication } from './api';
import type { Connection } from './connection';

const REMEMBERED = 1000;
const BATCH = 100;
const GATHER = 50;
const UNKNOWN_METHOD = [104, 108];

export class Acknowledgements {
  private readonly known: { [id: string]: true } = {};
  private readonly order: string[] = [];
  private waiting: string[] = [];
  private timer: any = 0;
  private supported = true;

  constructor(
    private readonly connection: () => Connection,
    private readonly enabled: boolean,
  ) {}

  /** Handled in this life already: it is only acknowledged again. */
  isKnown(publication: Publication): boolean {
    const id = this.id(publication);
    return id !== undefined && Boolean(this.known[id]);
  }

  /** `handled`: whether each of its handlers ran without throwing. */
  after(publication: Publication, handled: Array<Promise<boolean>>): void {
    if (this.id(publication) === undefined || !handled.length) return;
    Promise.all(handled).then((well) => this.handled(publication, well.every(Boolean)));
  }

  handled(publication: Publication, well: boolean): void {
    const id = this.id(publication);
    if (id === undefined || !well) return;
    this.remember(id);
    this.waiting.push(id);
    this.later();
  }

  /** There is a connection: what could not be said before. */
  connected(): void {
    this.supported = true;
    if (this.waiting.length) this.later();
  }

  private id(publication: Publication): string | undefined {
    return this.enabled && publication.tags ? publication.tags.ack : undefined;
  }

  private remember(id: string): void {
    if (this.known[id]) return;
    this.known[id] = true;
    this.order.push(id);
    if (this.order.length > REMEMBERED) delete this.known[this.order.shift() as string];
  }

  private later(): void {
    if (!this.timer) this.timer = setTimeout(() => this.send(), GATHER);
  }

  private send(): void {
    this.timer = 0;
    const connection = this.connection();
    if (!this.supported || connection.state !== 'connected') {
      this.waiting = this.waiting.slice(-REMEMBERED); // the rest comes again
      return;
    }
    const ids = this.waiting.splice(0, BATCH);
    if (!ids.length) return;
    connection
      .call(() => connection.client.rpc('ack', { ids }))
      .then(
        () => this.waiting.length && this.later(),
        (error) => {
          if (UNKNOWN_METHOD.indexOf(error.code) >= 0) this.supported = false;
          else this.waiting = ids.concat(this.waiting); // said again after the next connect
        },
      );
  }
}
