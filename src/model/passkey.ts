// A passkey: what signs a user in by public key, in his browser, phone or security key.
import type { UserId } from './ids.ts';

/** A WebAuthn credential of a user. */
export interface Passkey {
  /** The credential's id in base64url. */
  readonly id: string;
  readonly userId: UserId;
  /** What its user calls it. */
  readonly name: string;
  /** The public key as a JWK. */
  readonly publicKey: Readonly<Record<string, unknown>>;
  /** The highest signature counter that was seen; 0 where the authenticator does not count. */
  readonly counter: number;
  /** Whether it is kept in more than one device. */
  readonly synced: boolean;
  readonly transports: readonly string[];
  readonly createdAt: number;
  readonly lastUsed: number | undefined;
}
