// Services that peers publish by themselves, for as long as they renew them.

export const exposeProtocols = ['http', 'https', 'tcp', 'udp', 'tls'] as const;

/** What a peer asks to be published. Secrets come in the clear. */
export interface ExposeRequest {
  readonly port: number;
  /** Undefined for the peer itself, else an address or a name that policies let it reach. */
  readonly host: string | undefined;
  readonly protocol: (typeof exposeProtocols)[number];
  /** Exactly a domain, or a random name that begins with `name`, below a domain or at any cluster. */
  readonly place: { readonly kind: 'exact'; readonly domain: string } | { readonly kind: 'random'; readonly name: string; readonly below?: string };
  readonly listenPort: number | undefined;
  /** `settings`: public where the settings permit that, else sign-in. */
  readonly access:
    | { readonly kind: 'public' | 'settings' }
    /** Groups by name or id; any of the proofs will do. */
    | {
        readonly kind: 'proof';
        readonly signIn: boolean;
        readonly groups: readonly string[];
        readonly password: string | undefined;
        readonly pin: string | undefined;
      };
  /** Undefined for as long as it is renewed. */
  readonly endsAfterMs: number | undefined;
}

/** What has been published, as its peer is told. */
export interface ExposedService {
  readonly id: string;
  readonly name: string;
  readonly url: string;
  readonly domain: string;
  /** It lapses so long after the last renewal. */
  readonly ttlMs: number;
  /** Wall-clock milliseconds; undefined for as long as it is renewed. */
  readonly endsAt: number | undefined;
  /** As the gateways tell it, such as `active`; empty where nobody says. */
  readonly state: string;
  readonly reason: string;
  readonly openTo: OpenTo;
}

/** Who can open it: everybody, or whoever has one of the proofs. */
export interface OpenTo {
  readonly everybody: boolean;
  readonly signIn: boolean;
  /** Names of the groups whose members may sign in; empty for every user of the network. */
  readonly groups: readonly string[];
  readonly password: boolean;
  readonly pin: boolean;
}

/** What the control plane said. */
export type ExposeAnswer =
  | { readonly kind: 'open'; readonly service: ExposedService }
  /** It was not renewed in time, or never was: it has to be asked for again. */
  | { readonly kind: 'lapsed' }
  /** It is not permitted; `reason` says why. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** Somebody has taken it away, and it is not to come back by itself. */
  | { readonly kind: 'withdrawn'; readonly reason: string };

/** Who can open it, in plain words. */
export function openToText({ everybody, signIn, groups, password, pin }: OpenTo): string {
  if (everybody) return 'everybody who knows the address, without signing in';
  const ways = [
    ...(signIn ? [groups.length === 0 ? 'every user of this network who signs in' : `members of ${groups.join(', ')} who sign in`] : []),
    ...(password ? ['whoever has the password'] : []),
    ...(pin ? ['whoever has the PIN'] : []),
  ];
  return ways.length === 0 ? 'nobody' : ways.join(', and ');
}
