// The certificate directory: pairs of files, read again when they change, found by exact name and then by wildcard.
import { watch, type FSWatcher } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError, errorCode } from '#lib/errors.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { CERTIFICATE_POLL_MS, CERTIFICATE_SETTLE_MS, CERTIFICATES, PEM_BYTES } from '../constants.ts';
import { publishError } from '../errors.ts';
import { readCertificate, type Certificate } from './certificate.ts';

/** Whoever has certificates. Never answers with another host's. */
export interface CertificateSource {
  /** By canonical host name. */
  find(host: string): Certificate | undefined;
}

export interface CertificateProblem {
  readonly source: string;
  readonly problem: string;
}

export interface CertificateDirectory extends CertificateSource, Closable {
  certificates(): readonly Certificate[];
  /** What lies in the directory and cannot be used, with the reason. */
  problems(): readonly CertificateProblem[];
  /** Reads the directory now; resolves when what is found counts. A directory that cannot be read leaves the last state and rejects. */
  reload(): Promise<void>;
  /** Called after a reload that changed something; returns how to stop. */
  onChange(listener: () => void): () => void;
}

interface Pair {
  readonly source: string;
  readonly certPath: string;
  readonly keyPath: string;
}

/**
 * Opens the directory: `<name>/fullchain.pem` with `<name>/privkey.pem`, and `<name>.crt` with `<name>.key`. A file that becomes bad while
 * running keeps the last good certificate in use, and is told. Rejects with PUBLISH_CERTIFICATE_DIRECTORY.
 */
export async function openCertificateDirectory(path: string, deps: { readonly clock: Clock; readonly log: Logger }): Promise<CertificateDirectory> {
  const directory = new Directory(path, deps);
  await directory.reload();
  directory.start();
  return directory;
}

class Directory implements CertificateDirectory {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #listeners = new Set<() => void>();
  #bySource = new Map<string, Certificate>();
  #byName = new Map<string, Certificate>();
  #problems: readonly CertificateProblem[] = [];
  #watchers = new Map<string, FSWatcher>();
  #poll: Timer | undefined;
  #settle: Timer | undefined;
  #reading: Promise<void> | undefined;
  #again = false;
  #closed = false;

  constructor(path: string, deps: { readonly clock: Clock; readonly log: Logger }) {
    this.#path = path;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  find(host: string): Certificate | undefined {
    const exact = this.#byName.get(host);
    if (exact !== undefined) return exact;
    const dot = host.indexOf('.');
    // A wildcard stands for exactly one label (RFC 9525 §6.3).
    return dot < 0 ? undefined : this.#byName.get(`*${host.slice(dot)}`);
  }

  certificates(): readonly Certificate[] {
    return [...this.#bySource.values()];
  }

  problems(): readonly CertificateProblem[] {
    return this.#problems;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  start(): void {
    this.#watch();
    this.#arm();
  }

  reload(): Promise<void> {
    if (this.#reading !== undefined) {
      // The reading under way may have passed what has changed since.
      this.#again = true;
      return this.#reading;
    }
    this.#reading = this.#readUntilQuiet().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#poll?.cancel();
    this.#settle?.cancel();
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
    await this.#reading?.catch(() => undefined);
  }

  async #readUntilQuiet(): Promise<void> {
    do {
      this.#again = false;
      await this.#read();
    } while (this.#again && !this.#closed);
  }

  async #read(): Promise<void> {
    const pairs = await this.#findPairs();
    const problems: CertificateProblem[] = [];
    const bySource = new Map<string, Certificate>();
    for (const pair of pairs.slice(0, CERTIFICATES)) {
      const found = await readPair(pair);
      if ('problem' in found) {
        problems.push({ source: pair.source, problem: found.problem });
        const last = this.#bySource.get(pair.source);
        if (last !== undefined) bySource.set(pair.source, last);
      } else {
        const last = this.#bySource.get(pair.source);
        bySource.set(pair.source, last?.certPem === found.certPem && last.keyPem === found.keyPem ? last : found);
      }
    }
    if (pairs.length > CERTIFICATES) problems.push({ source: this.#path, problem: `more than ${CERTIFICATES} certificates` });
    if (this.#closed) return;
    const changed =
      bySource.size !== this.#bySource.size || [...bySource].some(([source, certificate]) => this.#bySource.get(source) !== certificate);
    for (const { source, problem } of problems) {
      if (!this.#problems.some((known) => known.source === source && known.problem === problem))
        this.#log.warn('certificate not usable', { source, problem });
    }
    this.#problems = problems;
    this.#bySource = bySource;
    this.#byName = indexByName(bySource.values());
    if (changed) for (const listener of this.#listeners) listener();
  }

  async #findPairs(): Promise<Pair[]> {
    try {
      const entries = await readdir(this.#path, { withFileTypes: true });
      const pairs: Pair[] = [];
      for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
        if (entry.name.startsWith('.')) continue;
        const path = join(this.#path, entry.name);
        if (entry.isDirectory() || (entry.isSymbolicLink() && (await isDirectory(path)))) {
          pairs.push({ source: entry.name, certPath: join(path, 'fullchain.pem'), keyPath: join(path, 'privkey.pem') });
        } else if (entry.name.endsWith('.crt')) {
          pairs.push({ source: entry.name, certPath: path, keyPath: `${path.slice(0, -4)}.key` });
        }
      }
      return pairs;
    } catch (error) {
      throw publishError('PUBLISH_CERTIFICATE_DIRECTORY', this.#path, error);
    }
  }

  /** Watching the directory and its folders makes a change count at once; the poll makes it count at all where watching is deaf. */
  #watch(): void {
    const wanted = new Set([
      this.#path,
      ...[...this.#bySource.keys()].filter((source) => !source.endsWith('.crt')).map((source) => join(this.#path, source)),
    ]);
    for (const [path, watcher] of this.#watchers) {
      if (wanted.has(path)) continue;
      watcher.close();
      this.#watchers.delete(path);
    }
    for (const path of wanted) {
      if (this.#watchers.has(path)) continue;
      try {
        const watcher = watch(path, { persistent: false }, () => this.#soon());
        watcher.on('error', () => {
          watcher.close();
          this.#watchers.delete(path);
        });
        this.#watchers.set(path, watcher);
      } catch (error) {
        this.#log.debug('certificate directory is polled only', { path, error: describeError(error) });
      }
    }
  }

  /** Reads a little later, so that a pair written file by file is read once and whole. */
  #soon(): void {
    if (this.#closed || this.#settle !== undefined) return;
    this.#settle = this.#clock.after(CERTIFICATE_SETTLE_MS, () => {
      this.#settle = undefined;
      void this.#readQuietly();
    });
  }

  #arm(): void {
    this.#poll = this.#clock.after(CERTIFICATE_POLL_MS, () => {
      void this.#readQuietly().then(() => {
        if (!this.#closed) this.#arm();
      });
    });
  }

  async #readQuietly(): Promise<void> {
    try {
      await this.reload();
      if (!this.#closed) this.#watch();
    } catch (error) {
      this.#log.warn('certificate directory not read; the last certificates stay', { error: describeError(error) });
    }
  }
}

/** Of several certificates for one name, the one that is valid longest. */
function indexByName(certificates: Iterable<Certificate>): Map<string, Certificate> {
  const byName = new Map<string, Certificate>();
  for (const certificate of certificates) {
    for (const name of certificate.names) {
      const other = byName.get(name);
      if (other === undefined || other.notAfter < certificate.notAfter) byName.set(name, certificate);
    }
  }
  return byName;
}

async function readPair(pair: Pair): Promise<Certificate | { readonly problem: string }> {
  const files: string[] = [];
  for (const path of [pair.certPath, pair.keyPath]) {
    try {
      const { size } = await stat(path);
      if (size > PEM_BYTES) return { problem: `${path} is too large` };
      files.push(await readFile(path, 'latin1'));
    } catch (error) {
      return { problem: errorCode(error) === 'ENOENT' ? `${path} is missing` : `${path} cannot be read (${errorCode(error) ?? 'unknown'})` };
    }
  }
  return readCertificate(pair.source, files[0] ?? '', files[1] ?? '');
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
