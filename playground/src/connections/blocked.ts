// Who is blocked, as the gateway tells it.

import { signal } from '@preact/signals';
import { ask } from '../desk';

export interface BlockedUser {
  user: string;
  /** Unix seconds. */
  since: number;
  /** Unix seconds; absent: until somebody unblocks them. */
  expire_at?: number;
  reason?: string;
}

export interface Blocked {
  users: BlockedUser[];
  total: number;
}

/** Grows with every user that is blocked or unblocked here: whoever shows the list asks for it again. */
export const changes = signal(0);

/** `search`: a part of the user. */
export function blockedUsers(search: string, limit: number): Promise<Blocked> {
  return ask<Blocked>('blocked_users', { search, limit });
}

/** Without `expireAt` (unix seconds) until they are unblocked. */
export async function block(user: string, expireAt?: number): Promise<void> {
  await ask('block_user', { user, ...(expireAt && { expire_at: expireAt }) });
  changes.value += 1;
}

export async function unblock(user: string): Promise<void> {
  await ask('unblock_user', { user });
  changes.value += 1;
}
