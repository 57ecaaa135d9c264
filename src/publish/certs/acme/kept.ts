// What automatic certificates keep on disk: one file for an account, one for a certificate with its key. Each is written whole, so that a
// crash leaves the old or the new one and never half a pair (attack row D-16).
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError, errorCode } from '#lib/errors.ts';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import type { Logger } from '#lib/log.ts';
import { integer, list, object, optional, parse, string, type Schema } from '#lib/schema.ts';
import { PEM_BYTES } from '../../constants.ts';
import type { Standing } from './authorities.ts';
import type { Account } from './authority.ts';
import { CERTIFICATES_KEPT, DISK_RETRY_MS, NAMES_PER_CERTIFICATE } from './constants.ts';
import type { KeptCertificate } from './types.ts';

const pem = string({ max: PEM_BYTES });
const at = integer();
const accountSchema = object({
  directory: string(),
  keyPem: pem,
  url: optional(string()),
  standing: object({
    awayUntil: integer({ default: 0 }),
    reason: string({ min: 0, default: '' }),
    orders: list(object({ at, names: string({ max: PEM_BYTES }) }), { default: [], max: 10_000 }),
    limited: list(object({ names: string({ max: PEM_BYTES }), until: at, reason: string({ min: 0 }) }), { default: [], max: 10_000 }),
    failures: list(object({ at, name: string() }), { default: [], max: 10_000 }),
  }),
});
const certificateSchema = object({
  names: list(string(), { min: 1, max: NAMES_PER_CERTIFICATE }),
  keyPem: pem,
  chainPem: pem,
  directory: string(),
});

export interface KeptAccount extends Account {
  readonly directory: string;
  readonly standing: Standing;
}

export class KeptFiles {
  /** What keeps files from being written; empty where nothing does. */
  problem = '';
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** One write at a time for each file, in order. */
  readonly #writing = new Map<string, Promise<void>>();
  /** The newest text of each file that the disk has not taken. */
  readonly #unwritten = new Map<string, string>();
  #retry: Timer | undefined;
  #closed = false;

  constructor(folder: string, { clock, log }: { readonly clock: Clock; readonly log: Logger }) {
    this.#folder = folder;
    this.#clock = clock;
    this.#log = log;
  }

  /** Makes the folder, and removes what a crash left half written. */
  async open(): Promise<void> {
    const folder = join(this.#folder, 'certificates');
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const place of [this.#folder, folder]) {
      for (const name of await readdir(place)) if (/^\.[0-9a-f]{12}\.tmp$/.test(name)) await rm(join(place, name), { force: true });
    }
  }

  async account(directory: string): Promise<KeptAccount | undefined> {
    const file = this.#accountFile(directory);
    const text = await readFileIfThere(file);
    if (text === undefined) return undefined;
    const account = readKept(accountSchema, text);
    if (account?.directory === directory) return account;
    this.#log.warn('an ACME account cannot be read; a new one is made', { file });
    return undefined;
  }

  async saveAccount(account: KeptAccount): Promise<void> {
    await this.#write(this.#accountFile(account.directory), JSON.stringify(account));
  }

  /** All that are there and whole; what cannot be read is told and left out. */
  async certificates(): Promise<readonly KeptCertificate[]> {
    const folder = join(this.#folder, 'certificates');
    const found: KeptCertificate[] = [];
    for (const name of (await readdir(folder)).filter((entry) => entry.endsWith('.json')).slice(0, CERTIFICATES_KEPT)) {
      const file = join(folder, name);
      try {
        const certificate = readKeptCertificate(await readFile(file, 'utf8'));
        if (certificate === undefined) this.#log.warn('a kept certificate cannot be read and is ordered anew', { file });
        else found.push(certificate);
      } catch (error) {
        this.#log.warn('a kept certificate cannot be read and is ordered anew', { file, error: errorCode(error) ?? '' });
      }
    }
    return found;
  }

  async saveCertificate(certificate: KeptCertificate): Promise<void> {
    await this.#write(join(this.#folder, 'certificates', `${fileName(certificate.names)}.json`), JSON.stringify(certificate));
  }

  async #write(file: string, text: string): Promise<void> {
    const write = (this.#writing.get(file) ?? Promise.resolve()).catch(() => undefined).then(() => writeFileAtomic(file, text));
    this.#writing.set(file, write);
    try {
      await write;
      this.#unwritten.delete(file);
      if (this.#unwritten.size === 0 && this.problem !== '') {
        this.#log.info('certificates and their accounts are written again');
        this.problem = '';
      }
    } catch (error) {
      // A newer text is on its way, or has failed already.
      if (this.#writing.get(file) === write) this.#unwritten.set(file, text);
      this.problem = `certificates or their accounts cannot be written (${describeError(error)}): a restart would order them anew`;
      this.#arm();
      throw error;
    } finally {
      if (this.#writing.get(file) === write) this.#writing.delete(file);
    }
  }

  /** Tries once more what the disk has not taken, and nothing after that. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#retry?.cancel();
    await this.#again();
  }

  #arm(): void {
    if (this.#closed) return;
    this.#retry ??= this.#clock.after(DISK_RETRY_MS, () => {
      this.#retry = undefined;
      void this.#again();
    });
  }

  /** Never rejects; what fails again waits for the next time. */
  async #again(): Promise<void> {
    await Promise.allSettled([...this.#unwritten].map(([file, text]) => this.#write(file, text)));
  }

  #accountFile(directory: string): string {
    return join(this.#folder, `account-${digest(directory)}.json`);
  }
}

/** Undefined where the text is none of ours. */
export function readKeptCertificate(text: string): KeptCertificate | undefined {
  return readKept(certificateSchema, text);
}

/** For people the first name, for certainty a digest of all. */
function fileName(names: readonly string[]): string {
  return `${(names[0] ?? '').replace('*', '_').slice(0, 100)}-${digest(names.join(' '))}`;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

function readKept<T>(schema: Schema<T>, text: string): T | undefined {
  try {
    const parsed = parse(schema, JSON.parse(text));
    return parsed.ok ? parsed.value : undefined;
  } catch {
    return undefined;
  }
}
