// Services from the labels of containers: all that run are looked at when Docker is there, and again with each event of one.
import { Backoff } from '#lib/backoff.ts';
import { type Clock, pause, type Timer } from '#lib/clock.ts';
import { describeError, errorCode } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { dockerGatherMs, dockerRetry } from '../constants.ts';
import { DockerApi } from './docker-api.ts';
import { wishOfContainer } from './docker-labels.ts';
import type { Discovery, DiscoveryStatus } from './file.ts';
import type { FoundWish, Wanted } from './wanted.ts';

export interface DockerDeps {
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
}

export class DockerDiscovery implements Discovery {
  readonly #path: string;
  readonly #api: DockerApi;
  readonly #wanted: Pick<Wanted, 'apply' | 'size'>;
  readonly #deps: DockerDeps;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #looking: Promise<void> = Promise.resolve();
  #gather: Timer | undefined;
  /** Why Docker is not asked, and what is wrong with containers. */
  #away = 'not asked yet';
  #wrong: readonly string[] = [];

  constructor(path: string, wanted: Pick<Wanted, 'apply' | 'size'>, deps: DockerDeps) {
    this.#path = path;
    this.#api = new DockerApi(path);
    this.#wanted = wanted;
    this.#deps = deps;
    this.#running = this.#run();
  }

  status(): DiscoveryStatus {
    return { source: this.#path, services: this.#wanted.size, problem: this.#away || this.#wrong.join('; ') };
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#gather?.cancel();
    await Promise.all([this.#running, this.#looking]);
  }

  /** While Docker is away what was found goes on: containers may well run. */
  async #run(): Promise<void> {
    const { clock, random, log } = this.#deps;
    const { signal } = this.#closing;
    const backoff = new Backoff({ ...dockerRetry, random });
    while (!signal.aborted) {
      try {
        await this.#api.events(() => this.#changed(), signal);
        this.#away = 'Docker ended its stream of events';
        backoff.reset();
      } catch (error) {
        if (signal.aborted) return;
        const away = reasonOf(error);
        if (away !== this.#away) log.warn('Docker cannot be asked for containers; what was found goes on', { socket: this.#path, reason: away });
        this.#away = away;
      }
      await pause(clock, backoff.next(), signal);
    }
  }

  /** Events come in bursts: what one start brings is looked at once. */
  #changed(): void {
    this.#gather ??= this.#deps.clock.after(dockerGatherMs, () => {
      this.#gather = undefined;
      this.#looking = this.#looking.then(() => this.#look());
    });
  }

  async #look(): Promise<void> {
    const { log } = this.#deps;
    const { signal } = this.#closing;
    try {
      const wishes = new Map<string, FoundWish>();
      const wrong: string[] = [];
      for (const container of await this.#api.containers(signal)) {
        const read = wishOfContainer(container);
        const name = container.Names[0]?.replace(/^\//, '') ?? container.Id.slice(0, 12);
        if (read.ok) wishes.set(container.Id, read.wish);
        else wrong.push(`${name}: ${read.problem}`);
      }
      for (const problem of wrong) if (!this.#wrong.includes(problem)) log.error('a container is not published', { problem });
      this.#wrong = wrong;
      this.#away = '';
      if (!signal.aborted) await this.#wanted.apply(wishes);
    } catch (error) {
      if (signal.aborted) return;
      this.#away = reasonOf(error);
      log.warn('Docker did not tell its containers; what was found goes on', { socket: this.#path, reason: this.#away });
    }
  }
}

function reasonOf(error: unknown): string {
  const code = errorCode(error);
  if (code === 'ENOENT') return 'there is no such socket';
  if (code === 'EACCES') return 'this user may not open the socket';
  return code === 'ECONNREFUSED' ? 'nobody listens at the socket' : describeError(error);
}
