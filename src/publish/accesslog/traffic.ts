// Counts what the access log records, by service: fixed fields and classes, so that a request costs additions only.
import { Durations } from '#lib/durations.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { ServiceId } from '#model/ids.ts';
import { FIGURE_REASONS, FIGURE_SERVICES } from '../constants.ts';
import { stageOf } from './stages.ts';

/** Methods that are counted by name; others together. */
const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;
const statusClasses = 5;
const streamKinds = ['tcp', 'tls', 'udp'] as const;
/** Where all places are taken, every so many requests it is looked whether one is free. */
const lookEvery = 1_000;

export class ServiceTraffic {
  /** The domain that it was first asked by; `none` for what reached no service, `other` for those beyond the bound. */
  readonly service: string;
  readonly accessTime: Durations = new Durations();
  readonly dialTime: Durations = new Durations();
  readonly firstByteTime: Durations = new Durations();
  readonly totalTime: Durations = new Durations();
  upgrades = 0;
  bytesUp = 0;
  bytesDown = 0;
  readonly #requests = new Float64Array((methods.length + 1) * statusClasses);
  readonly #streams = new Float64Array(streamKinds.length);
  readonly #refusals = new Map<string, number>();

  constructor(service: string) {
    this.service = service;
  }

  record(entry: AccessLogEntry, reason: string | undefined): void {
    if (reason !== undefined) this.#refusals.set(reason, (this.#refusals.get(reason) ?? 0) + 1);
    this.bytesUp += entry.bytesUp;
    this.bytesDown += entry.bytesDown;
    if (entry.protocol === 'http') this.#request(entry);
    else {
      const at = streamKinds.indexOf(entry.protocol);
      this.#streams[at] = (this.#streams[at] ?? 0) + 1;
    }
  }

  #request(entry: AccessLogEntry): void {
    const method = methods.indexOf(entry.method as (typeof methods)[number]);
    const status = Math.min(statusClasses, Math.max(1, Math.floor(entry.status / 100))) - 1;
    const at = (method < 0 ? methods.length : method) * statusClasses + status;
    this.#requests[at] = (this.#requests[at] ?? 0) + 1;
    if (entry.status === 101) this.upgrades++;
    // How long an upgraded stream stayed open says nothing about speed.
    else this.totalTime.observe(entry.durationMs);
    if (entry.accessMs !== undefined) this.accessTime.observe(entry.accessMs);
    if (entry.dialMs !== undefined) this.dialTime.observe(entry.dialMs);
    if (entry.firstByteMs !== undefined) this.firstByteTime.observe(entry.firstByteMs);
  }

  /** Takes over what another has counted. */
  add(other: ServiceTraffic): void {
    for (let at = 0; at < this.#requests.length; at++) this.#requests[at] = (this.#requests[at] ?? 0) + (other.#requests[at] ?? 0);
    for (let at = 0; at < this.#streams.length; at++) this.#streams[at] = (this.#streams[at] ?? 0) + (other.#streams[at] ?? 0);
    for (const [reason, count] of other.#refusals) this.#refusals.set(reason, (this.#refusals.get(reason) ?? 0) + count);
    this.accessTime.add(other.accessTime);
    this.dialTime.add(other.dialTime);
    this.firstByteTime.add(other.firstByteTime);
    this.totalTime.add(other.totalTime);
    this.upgrades += other.upgrades;
    this.bytesUp += other.bytesUp;
    this.bytesDown += other.bytesDown;
  }

  /** Requests by method and status class, those that there were. */
  *requests(): Iterable<{ readonly method: string; readonly status: string; readonly count: number }> {
    for (const [at, count] of this.#requests.entries()) {
      if (count > 0) yield { method: methods[Math.floor(at / statusClasses)] ?? 'other', status: `${(at % statusClasses) + 1}xx`, count };
    }
  }

  /** Connections of TCP and TLS services that have ended, and flows of UDP ones. */
  *streams(): Iterable<{ readonly protocol: string; readonly count: number }> {
    for (const [at, count] of this.#streams.entries()) if (count > 0) yield { protocol: streamKinds[at] ?? '', count };
  }

  *refusals(): Iterable<{ readonly stage: string; readonly reason: string; readonly count: number }> {
    for (const [reason, count] of this.#refusals) yield { stage: stageOf(reason) ?? '', reason, count };
  }
}

export class Traffic {
  readonly #exists: (id: ServiceId) => boolean;
  readonly #services = new Map<ServiceId, ServiceTraffic>();
  /** Requests that reached no service; those of services beyond the bound, or gone. */
  readonly #none = new ServiceTraffic('none');
  readonly #other = new ServiceTraffic('other');
  /** Reasons that are counted by name. They are words of the program; the bound is for the day when one is not. */
  readonly #reasons = new Set<string>();
  /** Requests that found no place for their service. */
  #turnedAway = 0;

  /** `exists` says whether a service is still there: where places are short, those of the others are given away. */
  constructor(exists: (id: ServiceId) => boolean) {
    this.#exists = exists;
  }

  record(entry: AccessLogEntry): void {
    this.#of(entry).record(entry, stageOf(entry.reason) === undefined ? undefined : this.#reason(entry.reason));
  }

  /** Those with a place of their own, then the rest. */
  all(): readonly ServiceTraffic[] {
    return [...this.#services.values(), this.#none, this.#other];
  }

  #of({ serviceId, host }: AccessLogEntry): ServiceTraffic {
    if (serviceId === undefined) return this.#none;
    const known = this.#services.get(serviceId);
    if (known !== undefined) return known;
    if (this.#services.size >= FIGURE_SERVICES && this.#turnedAway++ % lookEvery === 0) this.#makeRoom();
    if (this.#services.size >= FIGURE_SERVICES) return this.#other;
    const made = new ServiceTraffic(host);
    this.#services.set(serviceId, made);
    return made;
  }

  #makeRoom(): void {
    for (const [id, traffic] of this.#services) {
      if (this.#exists(id)) continue;
      this.#services.delete(id);
      this.#other.add(traffic); // what it has counted stays in the sums
    }
  }

  #reason(reason: string): string {
    if (this.#reasons.has(reason)) return reason;
    if (this.#reasons.size >= FIGURE_REASONS) return 'other';
    this.#reasons.add(reason);
    return reason;
  }
}
