// Accounts for TURN servers that share a secret with us: the name says until when it is good, the password is its HMAC, so neither side
// keeps a list (draft-uberti-behave-turn-rest; coturn's use-auth-secret).
import { createHmac } from 'node:crypto';
import type { TurnEndpoint } from '#model/network-map.ts';
import { serverError } from './errors.ts';

export interface TurnConfig {
  readonly urls: readonly string[];
  readonly secret: string | undefined;
}

/**
 * Makes the accounts of each moment, wall-clock milliseconds; they outlive the next renewal by as much again. Throws SERVER_TURN_SECRET
 * where there are servers and no secret.
 */
export function createTurnAccounts({ urls, secret }: TurnConfig, renewedEveryMs: number): (nowWallMs: number) => readonly TurnEndpoint[] {
  if (urls.length === 0) return () => [];
  if (secret === undefined || secret === '') throw serverError('SERVER_TURN_SECRET');
  return (nowWallMs) => {
    const username = `${Math.floor((nowWallMs + 2 * renewedEveryMs) / 1000)}:peer`;
    const password = createHmac('sha1', secret).update(username).digest('base64');
    return urls.map((url) => ({ url, username, password }));
  };
}
