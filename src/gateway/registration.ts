// How a gateway becomes a peer: the one-time token of any of its services vouches for its key. The key is kept on disk, so that after a
// restart the control plane knows it already and nothing has to be registered.
import { Backoff, sleep } from '#lib/backoff.ts';
import { describeError, errorCode } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { MeshNode } from '#mesh/index.ts';
import type { AccountId, PublicKey, ServiceId } from '#model/ids.ts';
import type { ServiceMapping } from '#model/service.ts';
import { callTimeoutMs, registerBackoff } from './constants.ts';

export type CreateProxyPeer = (
  request: { readonly serviceId: ServiceId; readonly accountId: AccountId; readonly oneTimeToken: string; readonly publicKey: PublicKey },
  signal: AbortSignal,
) => Promise<void>;

export interface RegistrationDeps {
  readonly node: MeshNode;
  readonly createProxyPeer: CreateProxyPeer;
  readonly log: Logger;
}

export class Registration {
  readonly #deps: RegistrationDeps;
  readonly #stopping = new AbortController();
  /** The newest mapping that brought a token. */
  #voucher: ServiceMapping | undefined;
  #reason = 'no service yet: a gateway joins the mesh with its first one';
  #arrived = Promise.withResolvers<void>();
  #running: Promise<void> | undefined;

  constructor(deps: RegistrationDeps) {
    this.#deps = deps;
  }

  /** Why the gateway has not joined yet; empty when it has. */
  get reason(): string {
    return this.#deps.node.state().kind === 'running' ? '' : this.#reason;
  }

  /** A mapping has come from the control plane. */
  offer(mapping: ServiceMapping): void {
    if (mapping.authToken === '') return;
    this.#voucher = mapping;
    this.#arrived.resolve();
  }

  /** Joins the mesh in the background, and joins again where the control plane has forgotten this peer. Never rejects. */
  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    this.#arrived.resolve();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const backoff = new Backoff({ ...registerBackoff, random: Math.random });
    while (!signal.aborted) {
      try {
        await this.#deps.node.start(AbortSignal.any([signal, AbortSignal.timeout(callTimeoutMs)]));
        this.#reason = 'the control plane does not let it in';
        backoff.reset();
        await this.#untilRefused(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (errorCode(error) === 'MESH_REFUSED') await this.#register(signal);
        else this.#reason = describeError(error);
      }
      await sleep(backoff.next(), signal);
    }
  }

  /** Has the key vouched for by a token, then asks the node to sign in at once. */
  async #register(signal: AbortSignal): Promise<void> {
    const mapping = this.#voucher;
    if (mapping === undefined) {
      this.#reason = 'no service yet: a gateway joins the mesh with its first one';
      await this.#arrived.promise;
      return;
    }
    this.#voucher = undefined; // a token is good once
    this.#arrived = Promise.withResolvers();
    try {
      const deadline = AbortSignal.any([signal, AbortSignal.timeout(callTimeoutMs)]);
      const { id: serviceId, accountId, authToken: oneTimeToken } = mapping;
      await this.#deps.createProxyPeer({ serviceId, accountId, oneTimeToken, publicKey: this.#deps.node.publicKey }, deadline);
      this.#deps.log.info('registered as a peer', { service: mapping.domain });
      this.#deps.node.retry();
    } catch (error) {
      this.#reason = describeError(error);
      this.#deps.log.warn('could not register as a peer', { reason: this.#reason });
    }
  }

  #untilRefused(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const stop = this.#deps.node.onState((state) => {
        if (state.kind === 'refused' || state.kind === 'closed') done();
      });
      const done = (): void => {
        stop();
        signal.removeEventListener('abort', done);
        resolve();
      };
      signal.addEventListener('abort', done, { once: true });
    });
  }
}
