// Tells the control plane how each service is, when that changes; and keeps the last word for `meshgate status`.
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { AccountId, ServiceId } from '#model/ids.ts';
import type { ServiceMapping } from '#model/service.ts';
import type { ServiceStatus } from '#model/status.ts';
import { callTimeoutMs, reportIntervalMs } from '../constants.ts';

export interface StatusReport {
  readonly serviceId: ServiceId;
  readonly accountId: AccountId;
  readonly status: ServiceStatus;
  readonly certificateIssued: boolean;
}

export interface ReporterDeps {
  readonly mappings: () => Iterable<ServiceMapping>;
  readonly state: (mapping: ServiceMapping) => ServiceStatus;
  readonly hasCertificate: (host: string) => boolean;
  readonly send: (report: StatusReport, signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface ServiceLine extends ServiceStatus {
  readonly id: ServiceId;
  readonly domain: string;
}

export class ServiceReporter {
  readonly #deps: ReporterDeps;
  /** What the control plane was told last, by service. */
  readonly #told = new Map<ServiceId, string>();
  readonly #stopping = new AbortController();
  #timer: Timer | undefined;
  #running = false;
  /** Grows with each forgetting: what was on its way then may not count as told. */
  #forgotten = 0;

  constructor(deps: ReporterDeps) {
    this.#deps = deps;
  }

  /** Looks at all services soon, and then at every interval: paths come and go by themselves. */
  start(): void {
    const tick = (): void => {
      if (this.#stopping.signal.aborted) return;
      void this.#report().finally(() => {
        this.#timer = this.#deps.clock.after(reportIntervalMs, tick);
      });
    };
    tick();
  }

  /** The control plane may have forgotten: everything is told again. */
  forgetTold(): void {
    this.#forgotten++;
    this.#told.clear();
  }

  /** The service is gone; where it comes back it is told again, as the control plane forgets what it was told of one that is switched off. */
  forget(id: ServiceId): void {
    this.#forgotten++;
    this.#told.delete(id);
  }

  status(): readonly ServiceLine[] {
    return [...this.#deps.mappings()].map((mapping) => ({ id: mapping.id, domain: mapping.domain, ...this.#deps.state(mapping) }));
  }

  close(): void {
    this.#stopping.abort();
    this.#timer?.cancel();
  }

  async #report(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    try {
      const current = new Set<ServiceId>();
      for (const mapping of this.#deps.mappings()) {
        current.add(mapping.id);
        await this.#tell(mapping);
      }
      for (const id of this.#told.keys()) if (!current.has(id)) this.#told.delete(id);
    } catch (error) {
      this.#deps.log.debug('a service state was not taken by the control plane', { reason: describeError(error) });
    } finally {
      this.#running = false;
    }
  }

  async #tell(mapping: ServiceMapping): Promise<void> {
    const status = this.#deps.state(mapping);
    const certificateIssued = this.#deps.hasCertificate(mapping.domain);
    const word = `${status.state} ${certificateIssued} ${status.reason}`;
    if (this.#told.get(mapping.id) === word) return;
    const forgotten = this.#forgotten;
    const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(callTimeoutMs)]);
    await this.#deps.send({ serviceId: mapping.id, accountId: mapping.accountId, status, certificateIssued }, signal);
    if (forgotten === this.#forgotten) this.#told.set(mapping.id, word);
    this.#deps.log.info('service state', { service: mapping.domain, state: status.state, reason: status.reason });
  }
}
