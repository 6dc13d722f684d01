// Who is connected, as the gateway tells it.

import { ask } from '../desk';

export interface Connection {
  client: string;
  user: string;
  appid: string;
  node: string;
  ip: string;
  name: string;
  version: string;
  transport: string;
  /** Unix milliseconds. */
  connected_at: number;
  channels: string[];
  /** `channels` names the first of them. */
  num_channels: number;
  waiting_bytes: number;
}

export interface Query {
  user?: string;
  client?: string;
  channel?: string;
  search?: string;
  slow?: boolean;
  limit?: number;
  cursor?: string;
}

export interface Found {
  connections: Connection[];
  total: number;
  cursor?: string;
  /** Nodes that did not answer. */
  missing?: string[];
}

export function find(query: Query): Promise<Found> {
  return ask<Found>('connections', query);
}
