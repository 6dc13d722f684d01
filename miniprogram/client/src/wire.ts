/**
 * centrifuge with an ear on its codec: which publications were recovered, whether a code has left the phone, and
 * positions that the app has kept for channels of the gateway's choosing.
 */

import { Centrifuge } from 'centrifuge';
import type { Options as CentrifugeOptions } from 'centrifuge';

import type { Position } from './api';

interface Codec {
  encodeCommands(commands: any[]): string;
  decodeReplies(data: string): any[];
}

export interface WireHooks {
  /** A connect with this in it is on its way. */
  connectSent: (connect: { token?: string; data?: any }) => void;
  /** Positions to ask for, by channel. */
  since: () => { [channel: string]: Position };
  /** Anything at all has come. */
  heard: () => void;
}

export class Wire extends Centrifuge {
  /** By channel: publications up to this offset were missed and brought later. */
  private readonly recoveredUpTo: { [channel: string]: number } = {};
  /** By id: subscribe commands of this connection that have no answer yet. */
  private subscribing: { [id: number]: string } = {};

  constructor(url: string, options: Partial<CentrifugeOptions>, hooks: WireHooks) {
    super(url, options);
    const codec: Codec = this._codec;
    const encode = codec.encodeCommands.bind(codec);
    const decode = codec.decodeReplies.bind(codec);
    codec.encodeCommands = (commands) => {
      commands.forEach((command) => this.look(command, hooks));
      return encode(commands);
    };
    codec.decodeReplies = (data) => {
      const replies = decode(data);
      hooks.heard();
      replies.forEach((reply) => this.note(reply));
      return replies;
    };
  }

  isRecovered(channel: string, offset: number | undefined): boolean {
    return offset !== undefined && offset <= (this.recoveredUpTo[channel] || 0);
  }

  private look(command: any, hooks: WireHooks): void {
    if (command.subscribe) this.subscribing[command.id] = command.subscribe.channel;
    if (!command.connect) return;
    this.subscribing = {}; // a connection begins
    const kept = hooks.since();
    Object.keys(kept).forEach((channel) => {
      const subs = (command.connect.subs = command.connect.subs || {});
      if (!subs[channel]) subs[channel] = { recover: true, offset: kept[channel].offset, epoch: kept[channel].epoch };
    });
    hooks.connectSent(command.connect);
  }

  private note(reply: any): void {
    if (reply.connect && reply.connect.subs) {
      Object.keys(reply.connect.subs).forEach((channel) => this.begin(channel, reply.connect.subs[channel]));
    }
    const channel = this.subscribing[reply.id];
    if (channel === undefined) return;
    delete this.subscribing[reply.id];
    if (reply.subscribe) this.begin(channel, reply.subscribe);
  }

  private begin(channel: string, result: { recovered?: boolean; publications?: Array<{ offset?: number }> }): void {
    const missed = (result.recovered && result.publications) || [];
    this.recoveredUpTo[channel] = missed.length ? missed[missed.length - 1].offset || 0 : 0;
  }
}
