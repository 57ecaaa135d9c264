// Tells the control plane how each certificate is, when that changes.
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError, errorCode } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { CertificateStatus } from '#model/status.ts';
import { callTimeoutMs, certificateReportMs, certificatesInReport } from '../constants.ts';

export interface CertificateReporterDeps {
  readonly list: () => readonly CertificateStatus[];
  readonly send: (changed: readonly CertificateStatus[], gone: readonly string[], signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
}

export class CertificateReporter {
  readonly #deps: CertificateReporterDeps;
  /** What was told last, by source and names. */
  readonly #told = new Map<string, string>();
  readonly #stopping = new AbortController();
  #timer: Timer | undefined;

  constructor(deps: CertificateReporterDeps) {
    this.#deps = deps;
  }

  start(): void {
    void this.#report().finally(() => {
      if (!this.#stopping.signal.aborted) this.#timer = this.#deps.clock.after(certificateReportMs, () => this.start());
    });
  }

  /** The control plane may have forgotten: everything is told again. */
  forgetTold(): void {
    this.#told.clear();
  }

  close(): void {
    this.#stopping.abort();
    this.#timer?.cancel();
  }

  async #report(): Promise<void> {
    const now = new Map(this.#deps.list().map((status) => [[status.source, ...status.names].join(' '), status]));
    const changed = [...now].filter(([id, status]) => this.#told.get(id) !== JSON.stringify(status));
    const gone = [...this.#told.keys()].filter((id) => !now.has(id));
    try {
      for (let at = 0; at < Math.max(changed.length, gone.length); at += certificatesInReport) {
        const [some, ended] = [changed.slice(at, at + certificatesInReport), gone.slice(at, at + certificatesInReport)];
        const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(callTimeoutMs)]);
        await this.#deps.send(
          some.map(([, status]) => status),
          ended,
          signal,
        );
        for (const [id, status] of some) this.#told.set(id, JSON.stringify(status));
        for (const id of ended) this.#told.delete(id);
      }
    } catch (error) {
      if (errorCode(error) === 'RPC_UNIMPLEMENTED') return this.close();
      this.#deps.log.debug('the states of certificates were not taken by the control plane', { reason: describeError(error) });
    }
  }
}
