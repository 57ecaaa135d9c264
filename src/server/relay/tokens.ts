// Relay tokens: HMACs over an expiry time, so that any relay with the secret checks what the control plane issued (netbird-wire §4.4).
import { type RelayToken, relayTokenKey, signRelayToken, verifyRelayToken } from '#wire/relay.ts';
import { TOKEN_LIFETIME_MS } from './constants.ts';

export interface RelayTokens {
  /** A token that is good for twelve hours from `nowWallMs`. */
  issue(nowWallMs: number): RelayToken;
  verify(token: Uint8Array, nowWallMs: number): boolean;
}

export function createRelayTokens(secret: string): RelayTokens {
  const key = relayTokenKey(secret);
  return {
    issue: (nowWallMs) => signRelayToken(key, (nowWallMs + TOKEN_LIFETIME_MS) / 1000),
    verify: (token, nowWallMs) => verifyRelayToken(key, token, nowWallMs),
  };
}
