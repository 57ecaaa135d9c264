// The use cases of services that peers publish by themselves. Failures are rows of domain/errors.ts.
import type { ExposeRequest } from '#model/exposure.ts';
import type { GroupId, PublicKey, ServiceId } from '#model/ids.ts';
import type { Service } from '#model/service.ts';

/** What peers may publish by themselves: nothing, unless somebody permits it. */
export interface ExposeSettings {
  readonly enabled: boolean;
  /** Whose peers may; none is nobody. */
  readonly groups: readonly GroupId[];
  /** Also what anybody can open. */
  readonly public: boolean;
  /** Below these domains a peer may choose the whole name. Elsewhere names are random. */
  readonly domains: readonly string[];
  /** Services of one peer at once. */
  readonly perPeer: number;
}

export interface Exposure {
  readonly service: Service;
  readonly url: string;
  /** It lapses so long after the last renewal. */
  readonly ttlMs: number;
  readonly endsAt: number | undefined;
  /** Names of the groups whose members may sign in. */
  readonly groups: readonly string[];
}

/** Services that peers publish for as long as they renew them. */
export interface ExposureUseCases {
  /**
   * Publishes it for `ttlMs`. A name that this peer itself holds is taken over from what it had there. DOMAIN_EXPOSE_OFF, _NOT_ALLOWED, _PUBLIC,
   * _NAME, _HOST, _LIMIT, _NO_CLUSTER, DOMAIN_PEER_UNKNOWN, and what the creation of a service throws.
   */
  create(peer: PublicKey, request: ExposeRequest): Promise<Exposure>;
  /** DOMAIN_EXPOSE_LAPSED, DOMAIN_EXPOSE_WITHDRAWN; where the peer may not any more, the service is gone too. */
  renew(peer: PublicKey, id: ServiceId): Promise<Exposure>;
  /** One that is gone is no error. */
  stop(peer: PublicKey, id: ServiceId): Promise<void>;
  /** What the peer has at that domain, also where it was withdrawn. DOMAIN_EXPOSE_LAPSED. */
  idOf(peer: PublicKey, domain: string): Promise<ServiceId>;
  /** Takes away what was not renewed in time, has had its time, or is no longer permitted. To be called a few times in `ttlMs`. */
  reapLapsed(): Promise<void>;
}
