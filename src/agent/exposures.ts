// Everything that is published from this machine, with who asked for it. What people left in the background outlives a restart.
import { join } from 'node:path';
import type { Clock } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import type { Logger } from '#lib/log.ts';
import { formatHostPort, type DialTarget } from '#lib/net.ts';
import { integer, list, object, optional, parse, string } from '#lib/schema.ts';
import type { ExposeControl } from '#mesh/index.ts';
import { openToText } from '#model/exposure.ts';
import { leadPorts, leadTries, maxExposures } from './constants.ts';
import { agentError } from './errors.ts';
import { Exposure, type ExposeResume, type ExposureState, type ExposeWish } from './exposure.ts';
import type { Forwarder, Lead } from './forward.ts';
import { wishSchema } from './wish.ts';

/** `terminal` and `background`: the command line; the others are what the agent has found by itself. */
export type ExposureSource = 'terminal' | 'background' | 'file' | 'docker';

export interface ExposuresDeps {
  readonly control: ExposeControl;
  readonly forwarder: Pick<Forwarder, 'lead'>;
  /** Where UDP leads has changed. */
  readonly udpLed: (port: number) => Promise<void>;
  /** Where those in the background are kept; undefined keeps none. */
  readonly stateDir: string | undefined;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
}

/** One of them as people and programs see it. */
export interface ExposureRow {
  readonly name: string;
  readonly url: string;
  readonly target: string;
  readonly source: ExposureSource;
  /** `asking`, `open`, or `away` where it could not be renewed. */
  readonly state: 'asking' | 'open' | 'away' | 'ended';
  readonly reason: string;
  readonly openTo: string;
  readonly expiresAt: string;
}

interface Kept {
  readonly exposure: Exposure;
  readonly source: ExposureSource;
  /** As it was asked for, to be kept on disk. */
  readonly raw: unknown;
}

const savedSchema = object({
  format: integer({ min: 1, max: 1 }),
  exposures: list(object({ wish: string(), id: optional(string()), port: optional(integer({ max: 65_535 })) }), { max: maxExposures }),
});

export class Exposures {
  readonly #deps: ExposuresDeps;
  readonly #kept = new Set<Kept>();
  #writing: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(deps: ExposuresDeps) {
    this.#deps = deps;
  }

  /** Begins to publish. `raw` is what `wish` was read from. AGENT_EXPOSE_LIMIT. */
  open(wish: ExposeWish, source: ExposureSource, raw?: unknown, resume?: ExposeResume): Exposure {
    if (this.#closed || this.#kept.size >= maxExposures) throw agentError('AGENT_EXPOSE_LIMIT');
    const { control, clock, random, log } = this.#deps;
    const lead = (target: DialTarget, port: number | undefined): Promise<Lead | undefined> => this.#lead(target, port);
    const exposure = new Exposure(wish, resume, { control, lead, clock, random });
    const kept: Kept = { exposure, source, raw };
    this.#kept.add(kept);
    const target = formatHostPort(wish.target.host, wish.target.port);
    exposure.onState((state) => {
      const url = state.kind === 'open' ? { url: state.service.url, ...(state.again ? { again: true } : {}) } : {};
      log.info('exposed service', { target, source, state: state.kind, ...url, reason: reasonIn(state) });
      // What was found stays in sight, with the reason, for as long as it is found.
      if (state.kind === 'ended' && !isFound(source)) this.#kept.delete(kept);
      if (source === 'background') this.#save();
    });
    return exposure;
  }

  /** Stops one, whoever asked for it. */
  async stop(exposure: Exposure): Promise<void> {
    await exposure.stop();
    for (const kept of this.#kept) if (kept.exposure === exposure) this.#kept.delete(kept);
  }

  /** Those that people can mean by this text: a domain or its first label, a URL, or a target. AGENT_EXPOSE_UNKNOWN. */
  find(text: string): readonly Exposure[] {
    const found = [...this.#kept].filter(({ exposure }) => namesOf(exposure).includes(text)).map(({ exposure }) => exposure);
    if (found.length === 0) throw agentError('AGENT_EXPOSE_UNKNOWN', text.slice(0, 255));
    return found;
  }

  rows(): readonly ExposureRow[] {
    return [...this.#kept].map(({ exposure, source }) => rowOf(exposure, source));
  }

  /** Goes on with what was in the background before a restart; a file that cannot be read is left alone. */
  async restore(): Promise<void> {
    const { stateDir, log } = this.#deps;
    if (stateDir === undefined) return;
    try {
      const text = await readFileIfThere(join(stateDir, fileName));
      const saved = text === undefined ? undefined : parse(savedSchema, JSON.parse(text));
      if (saved === undefined) return;
      if (!saved.ok) throw agentError('AGENT_REQUEST_INVALID', fileName);
      for (const { wish, id, port } of saved.value.exposures) {
        const raw: unknown = JSON.parse(wish);
        const read = parse(wishSchema, raw);
        const resume = id === undefined || port === undefined ? undefined : { id, port };
        if (read.ok) this.open({ ...read.value, patient: false }, 'background', raw, resume);
      }
    } catch (error) {
      log.warn('the services that were published in the background cannot be read', { file: join(stateDir, fileName), reason: describeError(error) });
    }
  }

  /** Stops what belongs to a terminal or was found; leaves what is in the background to the next start. */
  async close(): Promise<void> {
    this.#closed = true;
    const all = [...this.#kept];
    await Promise.all(all.map(({ exposure, source }) => (source === 'background' ? exposure.leave() : exposure.stop('the agent stops'))));
    await this.#writing;
  }

  async #lead(target: DialTarget, wanted: number | undefined): Promise<Lead | undefined> {
    const { forwarder, random, udpLed } = this.#deps;
    for (let i = 0; i < (wanted === undefined ? leadTries : 1); i++) {
      const chance = leadPorts.first + Math.floor(random() * (leadPorts.last - leadPorts.first));
      const lead = forwarder.lead(wanted ?? (i === 0 ? target.port : chance), target);
      if (lead === undefined) continue;
      await udpLed(lead.port);
      const end = (): void => {
        lead.end();
        void udpLed(lead.port);
      };
      return { port: lead.port, end };
    }
    return undefined;
  }

  #save(): void {
    const { stateDir, log } = this.#deps;
    if (stateDir === undefined || this.#closed) return;
    const exposures = [...this.#kept]
      .filter(({ source }) => source === 'background')
      .map(({ raw, exposure: { state } }) => ({
        wish: JSON.stringify(raw),
        ...(state.kind === 'open' ? { id: state.service.id, port: state.port } : {}),
      }));
    this.#writing = this.#writing
      .then(() => writeFileAtomic(join(stateDir, fileName), JSON.stringify({ format: 1, exposures })))
      .catch((error: unknown) => log.warn('the services in the background could not be saved', { reason: describeError(error) }));
  }
}

const fileName = 'exposures.json';

function isFound(source: ExposureSource): boolean {
  return source === 'file' || source === 'docker';
}

function namesOf({ wish, state }: Exposure): readonly string[] {
  const target = formatHostPort(wish.target.host, wish.target.port);
  if (state.kind !== 'open') return [target, String(wish.target.port)];
  const { domain, url } = state.service;
  return [domain, domain.split('.')[0] ?? domain, url, target, String(wish.target.port)];
}

function reasonIn(state: ExposureState): string {
  return state.kind === 'open' ? state.away || state.service.reason : state.reason;
}

function rowOf({ wish, state }: Exposure, source: ExposureSource): ExposureRow {
  const open = state.kind === 'open' ? state : undefined;
  return {
    name: open?.service.domain ?? '',
    url: open?.service.url ?? '',
    target: formatHostPort(wish.target.host, wish.target.port),
    source,
    state: open !== undefined && open.away !== '' ? 'away' : state.kind,
    reason: reasonIn(state),
    openTo: open === undefined ? '' : openToText(open.service.openTo),
    expiresAt: open?.service.endsAt === undefined ? '' : new Date(open.service.endsAt).toISOString(),
  };
}
