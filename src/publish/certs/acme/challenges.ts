// The challenges that are live now: the only tokens that are answered (attack rows T-13, T-14). Strangers can make us look, never order.
import type { Clock } from '#lib/clock.ts';
import { readCertificate, type Certificate } from '../certificate.ts';
import { challengeCertificate } from './authority.ts';
import type { ChallengeAnswer, ClusterStore } from './cluster-store.ts';
import { CHALLENGE_HANDSHAKE_MS, LIVE_CHALLENGES, NO_ANSWER_MS } from './constants.ts';

export interface ChallengeDeps {
  /** Hosts for which somebody of the cluster may be ordering; for no other is anything asked. */
  readonly known: (host: string) => boolean;
  readonly store: ClusterStore;
  readonly clock: Clock;
}

export class LiveChallenges {
  readonly #deps: ChallengeDeps;
  /** Key authorizations of http-01 by host and token. */
  readonly #tokens = new Map<string, string>();
  /** Challenge certificates of tls-alpn-01 by host. */
  readonly #certificates = new Map<string, Certificate>();
  /** The same for challenges of other gateways of the cluster: strangers can have the answer looked up, but not a key made each time. */
  readonly #foreign = new Map<string, { readonly keyAuthorization: string; readonly certificate: Promise<Certificate | undefined> }>();
  /** Until when the cluster has no answer; monotonic milliseconds. */
  readonly #silent = new Map<string, number>();
  readonly #asking = new Map<string, Promise<string | undefined>>();

  constructor(deps: ChallengeDeps) {
    this.#deps = deps;
  }

  /** Makes it live; returns how to end it. */
  async add(answer: ChallengeAnswer): Promise<() => void> {
    const { type, name, token, keyAuthorization } = answer;
    if (type === 'http-01') {
      const key = `${name} ${token}`;
      this.#tokens.set(key, keyAuthorization);
      return () => this.#tokens.delete(key);
    }
    const certificate = await makeCertificate(name, keyAuthorization);
    this.#certificates.set(name, certificate);
    return () => {
      if (this.#certificates.get(name) === certificate) this.#certificates.delete(name);
    };
  }

  /** The body that answers an HTTP-01 request for exactly this host and token; undefined where that is not live. Never rejects. */
  async token(host: string, token: string): Promise<string | undefined> {
    const own = this.#tokens.get(`${host} ${token}`);
    if (own !== undefined || !/^[A-Za-z0-9_-]{1,256}$/.test(token)) return own;
    const found = await this.#ask('http-01', host);
    // Whatever the store says, only the answer to this token leaves this way.
    return found !== undefined && /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}$/.test(found) && found.startsWith(`${token}.`) ? found : undefined;
  }

  /** The certificate that answers a TLS-ALPN-01 handshake for exactly this name; undefined where no challenge is live. Never rejects. */
  async certificate(host: string): Promise<Certificate | undefined> {
    const own = this.#certificates.get(host);
    if (own !== undefined) return own;
    const keyAuthorization = await this.#ask('tls-alpn-01', host);
    if (keyAuthorization === undefined) {
      this.#foreign.delete(host);
      return undefined;
    }
    const made = this.#foreign.get(host);
    if (made?.keyAuthorization === keyAuthorization) return await made.certificate;
    const certificate = makeCertificate(host, keyAuthorization).catch(() => undefined);
    this.#foreign.delete(host);
    if (this.#foreign.size >= LIVE_CHALLENGES) this.#foreign.delete(this.#foreign.keys().next().value ?? '');
    this.#foreign.set(host, { keyAuthorization, certificate });
    return await certificate;
  }

  /** Asked by host alone, so that no token that a stranger makes up hides the one that is live. */
  async #ask(type: 'http-01' | 'tls-alpn-01', host: string): Promise<string | undefined> {
    const { known, store, clock } = this.#deps;
    const key = `${type} ${host}`;
    if (!known(host) || (this.#silent.get(key) ?? 0) > clock.now()) return undefined;
    let asking = this.#asking.get(key);
    if (asking === undefined) {
      if (this.#asking.size >= LIVE_CHALLENGES) return undefined;
      const begun = clock.now();
      asking = store
        .find(type, host, AbortSignal.timeout(CHALLENGE_HANDSHAKE_MS))
        .catch(() => undefined)
        .then((found) => {
          this.#asking.delete(key);
          if (this.#silent.size >= LIVE_CHALLENGES) this.#silent.clear();
          if (found === undefined) this.#silent.set(key, begun + NO_ANSWER_MS);
          return found;
        });
      this.#asking.set(key, asking);
    }
    return await asking;
  }
}

async function makeCertificate(name: string, keyAuthorization: string): Promise<Certificate> {
  const { certPem, keyPem } = await challengeCertificate(name, keyAuthorization);
  const certificate = readCertificate('challenge', certPem, keyPem);
  if ('problem' in certificate) throw new TypeError(certificate.problem);
  return certificate;
}
