// The words of automatic certificates: what an authority answers, what can go wrong, and what is kept.

export const challengeTypes = ['tls-alpn-01', 'http-01', 'dns-01'] as const;
export type ChallengeType = (typeof challengeTypes)[number];
export const keyTypes = ['ec256', 'ec384', 'rsa2048'] as const;
export type KeyType = (typeof keyTypes)[number];

/** A certificate authority as the configuration names it. */
export interface AuthoritySettings {
  /** The URL of its ACME directory (RFC 8555 §7.1.1). */
  readonly directory: string;
  /** More roots for the directory's own TLS, as PEM. */
  readonly ca: string | undefined;
  /** External account binding (RFC 8555 §7.3.4); the key is base64url. */
  readonly binding: { readonly keyId: string; readonly hmacKey: string } | undefined;
}

/**
 * Why a step came to nothing. `limited`: the authority asks to slow down. `unavailable`: it cannot be reached or fails. `refused`: it will not,
 * as things stand. `validation`: it could not see our proof. `local`: something on our side, such as the DNS update.
 */
export interface AcmeFailure {
  readonly kind: 'limited' | 'unavailable' | 'refused' | 'validation' | 'local';
  /** In plain words, one line; never a secret. */
  readonly reason: string;
  /** From Retry-After, milliseconds from now; undefined where the authority says nothing. */
  readonly retryAfterMs: number | undefined;
}

export interface OrderView {
  readonly url: string;
  readonly status: 'pending' | 'ready' | 'processing' | 'valid' | 'invalid';
  /** Why it is invalid, where the authority says. */
  readonly problem: string;
}

export interface AuthorizationView {
  readonly name: string;
  readonly status: 'pending' | 'valid' | 'failed';
  /** The challenge of the type that was asked for; undefined where the authority does not offer it. */
  readonly challenge: ChallengeView | undefined;
  readonly problem: string;
}

export interface ChallengeView {
  /** The name without the wildcard's `*.`. */
  readonly name: string;
  readonly type: ChallengeType;
  readonly url: string;
  readonly token: string;
}

/** When an authority wants a certificate renewed (RFC 9773 §4.2). Wall-clock milliseconds. */
export interface RenewalWindow {
  readonly start: number;
  readonly end: number;
  /** How long the answer may be held, milliseconds. */
  readonly pollMs: number;
}

/** A certificate as it is kept: key and chain together, so that there never is half of one. */
export interface KeptCertificate {
  /** Canonical, sorted; the name of the certificate is the first. */
  readonly names: readonly string[];
  readonly keyPem: string;
  readonly chainPem: string;
  /** The directory that issued it. */
  readonly directory: string;
}
