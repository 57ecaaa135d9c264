// Where TLS of published services ends at this agent: asks the control plane for the token of its own cluster, keeps it alive, opens the door that
// serves them, and lets in only connections of the gateways that it was told of.
import type { Duplex } from 'node:stream';
import { systemClock, type Timer } from '#lib/clock.ts';
import { describeError, errorCode } from '#lib/errors.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { Dial, Ends } from '#lib/net.ts';
import type { ControlAddress, MeshNode, OverlayConnection } from '#mesh/index.ts';
import type { TlsGrant } from '#model/tls-grant.ts';
import type { OwnAcmeSettings } from '#publish/certs/acme/settings.ts';
import { tlsAskAgainMs, tlsGrantMs, tlsGrantRetryMs, tlsRenewMs } from './constants.ts';

/** What ends TLS and asks for the login: a gateway's parts, which the CLI hands in. */
export interface TlsDoor extends Closable {
  accept(stream: Duplex, ends: Ends): void;
  status(): unknown;
  /** What is not well, each for people. */
  problems(): readonly string[];
}

export interface TlsDoorOptions extends Pick<TlsGrant, 'token' | 'cluster' | 'proxyId'> {
  readonly control: ControlAddress;
  readonly stateDir: string;
  readonly certDir: string;
  readonly acme: OwnAcmeSettings;
}

export type OpenTlsDoor = (options: TlsDoorOptions, deps: { readonly dial: Dial; readonly log: Logger }) => Promise<TlsDoor>;

export interface TlsHereDeps {
  readonly grant: MeshNode['tlsGrant'];
  readonly open: OpenTlsDoor;
  readonly settings: Pick<TlsDoorOptions, 'control' | 'stateDir' | 'certDir' | 'acme'>;
  readonly dial: Dial;
  readonly log: Logger;
}

export class TlsHere implements Closable {
  readonly #deps: TlsHereDeps;
  readonly #stopping = new AbortController();
  #grant: TlsGrant | undefined;
  #door: TlsDoor | undefined;
  #timer: Timer | undefined;
  #reason = 'the control plane has not been asked yet';
  /** The control plane knows us, and has nothing for us to serve. */
  #refused = false;
  /** Monotonic milliseconds of the last question. */
  #asked = -Infinity;
  #asking: Promise<void> | undefined;

  constructor(deps: TlsHereDeps) {
    this.#deps = deps;
  }

  start(): void {
    void this.#ask();
  }

  /** Takes a connection to the port for it. Whoever is no gateway of our services is cut: nobody else's word about a visitor is taken. */
  async accept({ stream, remote, local, peer }: OverlayConnection): Promise<void> {
    stream.on('error', () => undefined);
    if (!this.#isGateway(peer) && systemClock.now() - this.#asked >= tlsAskAgainMs) await this.#ask(); // a new one, perhaps
    if (this.#door === undefined || !this.#isGateway(peer) || stream.destroyed) {
      this.#deps.log.debug('a connection for a service whose TLS ends here was refused', { peer, reason: this.#reason });
      stream.destroy();
      return;
    }
    this.#door.accept(stream, { remote, local });
  }

  status(): unknown {
    const { cluster, gateways = [] } = this.#grant ?? {};
    return { cluster, gateways, reason: this.#reason, door: this.#door?.status() };
  }

  /** That there is no service yet is none. */
  problems(): readonly string[] {
    return [...(this.#reason === '' || this.#refused ? [] : [`TLS cannot end here: ${this.#reason}`]), ...(this.#door?.problems() ?? [])];
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    this.#timer?.cancel();
    await this.#asking;
    await this.#door?.close();
  }

  #isGateway(peer: OverlayConnection['peer']): boolean {
    return this.#grant?.gateways.includes(peer) === true;
  }

  /** One question at a time; the next follows by itself. */
  #ask(): Promise<void> {
    this.#timer?.cancel();
    this.#asked = systemClock.now();
    this.#asking ??= this.#renew().finally(() => {
      this.#asking = undefined;
      if (!this.#stopping.signal.aborted) {
        this.#timer = systemClock.after(this.#reason === '' ? tlsRenewMs : tlsGrantRetryMs, () => void this.#ask());
      }
    });
    return this.#asking;
  }

  async #renew(): Promise<void> {
    try {
      const { grant, open, settings, dial, log } = this.#deps;
      const before = this.#grant;
      const now = await grant(before?.token ?? '', AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(tlsGrantMs)]));
      this.#grant = now;
      this.#refused = false;
      if (this.#door !== undefined && before?.token === now.token) {
        this.#reason = '';
        return;
      }
      const old = this.#door;
      this.#door = undefined;
      await old?.close();
      this.#door = await open({ ...settings, token: now.token, cluster: now.cluster, proxyId: now.proxyId }, { dial, log });
      this.#reason = '';
    } catch (error) {
      this.#reason = describeError(error);
      this.#refused = errorCode(error) === 'RPC_PERMISSION_DENIED';
      this.#deps.log.debug('the control plane has not let TLS end here', { reason: this.#reason });
    }
  }
}
