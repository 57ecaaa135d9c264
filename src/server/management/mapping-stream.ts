// One gateway's stream of mappings: first a snapshot in batches, each acknowledged, then what changes. What waits is a mark per
// service, never a message, so a slow gateway gets the newest state and costs nothing meanwhile.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Clock, Timer } from '#lib/clock.ts';
import type { ServiceId } from '#model/ids.ts';
import type { ServiceMapping } from '#model/service.ts';
import type { ProxyMappingSchema } from '#wire/proto/gen/proxy_service_pb.ts';
import type { ProxyConnection } from '../domain/contract.ts';
import { ackMs, maxUnacknowledged, snapshotBatch } from './constants.ts';
import { managementError } from './errors.ts';
import type { ManagementDomain } from './options.ts';
import { type KnownExtensions, mappingOf, removalOf } from './translate-proxy.ts';

export type MappingMessage = MessageInitShape<typeof ProxyMappingSchema>;

export interface MappingStreamOptions {
  readonly connection: ProxyConnection;
  readonly domain: Pick<ManagementDomain, 'services' | 'accountId'>;
  readonly clock: Clock;
  /** Whether this gateway can serve the mapping at all. */
  serves(mapping: ServiceMapping): boolean;
  /** Which of our own descriptions it knows. */
  readonly known: KnownExtensions;
  /** The older call has no acknowledgements. */
  readonly acknowledged: boolean;
  send(mappings: readonly MappingMessage[], initialSyncComplete: boolean): Promise<void>;
}

export class MappingStream {
  readonly connection: ProxyConnection;
  readonly #options: MappingStreamOptions;
  readonly #changed = new Set<ServiceId>();
  readonly #sent = new Set<ServiceId>();
  #unacknowledged = 0;
  #ackTimer: Timer | undefined;
  #failure: Error | undefined;
  #wake: () => void = () => undefined;

  constructor(options: MappingStreamOptions) {
    this.connection = options.connection;
    this.#options = options;
  }

  /** A service was set or removed; which of both is looked up when it is sent. */
  changed(id: ServiceId): void {
    this.#changed.add(id);
    this.#wake();
  }

  /** The gateway applied one message. */
  acknowledge(): void {
    if (this.#unacknowledged === 0) return;
    this.#unacknowledged -= 1;
    this.#watchAcks();
    this.#wake();
  }

  /** Makes `run` reject with the reason. */
  end(reason: Error): void {
    this.#failure ??= reason;
    this.#wake();
  }

  /** Runs until the signal aborts (resolves), or until it is ended, stalls or fails (rejects). */
  async run(signal: AbortSignal): Promise<void> {
    const abort = (): void => this.#wake();
    signal.addEventListener('abort', abort);
    try {
      await this.#sendSnapshot(signal);
      while (await this.#until(() => this.#changed.size > 0, signal)) await this.#sendChanges(signal);
    } finally {
      signal.removeEventListener('abort', abort);
      this.#ackTimer?.cancel();
    }
  }

  /** An empty snapshot is one empty message: the gateway has to learn that it is complete. */
  async #sendSnapshot(signal: AbortSignal): Promise<void> {
    const { domain, serves } = this.#options;
    const mappings = (await domain.services.mappings(this.connection.cluster)).filter(serves);
    for (let at = 0; at === 0 || at < mappings.length; at += snapshotBatch) {
      if (!(await this.#until(() => this.#unacknowledged === 0, signal))) return;
      const batch = mappings.slice(at, at + snapshotBatch);
      for (const mapping of batch) this.#sent.add(mapping.id);
      await this.#send(
        batch.map((mapping) => mappingOf(mapping, true, this.#options.known)),
        at + snapshotBatch >= mappings.length,
      );
    }
    await this.#until(() => this.#unacknowledged === 0, signal);
  }

  async #sendChanges(signal: AbortSignal): Promise<void> {
    if (!(await this.#until(() => this.#unacknowledged < maxUnacknowledged, signal))) return;
    const batch = [...this.#changed].slice(0, snapshotBatch);
    const messages: MappingMessage[] = [];
    for (const id of batch) {
      this.#changed.delete(id); // before it is looked up: a change during the look-up marks it again
      const mapping = await this.#options.domain.services.mapping(id, this.connection.cluster);
      if (mapping !== undefined && this.#options.serves(mapping)) {
        messages.push(mappingOf(mapping, !this.#sent.has(id), this.#options.known));
        this.#sent.add(id);
      } else if (this.#sent.delete(id)) messages.push(removalOf(id, this.#options.domain.accountId));
    }
    if (messages.length > 0) await this.#send(messages, false);
  }

  async #send(mappings: readonly MappingMessage[], complete: boolean): Promise<void> {
    if (this.#options.acknowledged) {
      this.#unacknowledged += 1;
      if (this.#unacknowledged === 1) this.#watchAcks();
    }
    await this.#options.send(mappings, complete);
  }

  /** Each message in flight has its time from the last acknowledgement on. */
  #watchAcks(): void {
    this.#ackTimer?.cancel();
    if (this.#unacknowledged > 0) this.#ackTimer = this.#options.clock.after(ackMs, () => this.end(managementError('MANAGEMENT_PROXY_SLOW')));
  }

  /** Waits for the condition; false where the signal aborted. Throws what `end` was given. */
  async #until(condition: () => boolean, signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      if (this.#failure !== undefined) throw this.#failure;
      if (condition()) return true;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return false;
  }
}
