// What the gateways of one cluster share about certificates, as an order sees it; the control plane keeps it (gateway/), or nobody does.
import type { ChallengeType, KeptCertificate } from './types.ts';

export type LeaseAnswer =
  | { readonly kind: 'granted' }
  | { readonly kind: 'held' }
  /** Another gateway has ordered it already, and it is good for longer than ours. */
  | { readonly kind: 'certificate'; readonly certificate: KeptCertificate };

/** What answers a challenge: for http-01 and tls-alpn-01 the key authorization, which is no secret once the authority asks. */
export interface ChallengeAnswer {
  readonly type: ChallengeType;
  readonly name: string;
  readonly token: string;
  readonly keyAuthorization: string;
}

/** Calls reject where the store cannot be asked. */
export interface ClusterStore {
  /** Asks to be the only one who orders these names. `expires` is when the certificate at hand does, in wall-clock milliseconds; 0 for none. */
  lease(names: readonly string[], expires: number, signal: AbortSignal): Promise<LeaseAnswer>;
  release(names: readonly string[], signal: AbortSignal): Promise<void>;
  /** Resolves when every gateway of the cluster gives the answers. */
  present(names: readonly string[], answers: readonly ChallengeAnswer[], signal: AbortSignal): Promise<void>;
  /** Hands the certificate to the other gateways, its key sealed for each of them. */
  share(certificate: KeptCertificate, signal: AbortSignal): Promise<void>;
  /** The latest answer that another gateway has presented for the name. */
  find(type: ChallengeType, name: string, signal: AbortSignal): Promise<string | undefined>;
}

/** A gateway that shares with nobody. */
export const unshared: ClusterStore = {
  lease: () => Promise.resolve({ kind: 'granted' }),
  release: () => Promise.resolve(),
  present: () => Promise.resolve(),
  share: () => Promise.resolve(),
  find: () => Promise.resolve(undefined),
};
