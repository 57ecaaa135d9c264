// Automatic certificates: looks after one order for each set of names that is wanted, carries its actions out, and serves what was issued.
import { join } from 'node:path';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { CertificateStatus } from '#model/status.ts';
import { readCertificate, type Certificate } from '../certificate.ts';
import type { CertificateSource } from '../directory.ts';
import { Authorities, type Standing } from './authorities.ts';
import { Authority, newPrivateKey, type Account } from './authority.ts';
import { LiveChallenges } from './challenges.ts';
import type { ChallengeAnswer, ClusterStore } from './cluster-store.ts';
import { wildcardOf } from '../../http/host.ts';
import { ACME_CALL_MS, CERTIFICATES_KEPT, ORDERS_AT_A_TIME } from './constants.ts';
import type { DnsRecords } from './dns-records.ts';
import { certificateIdOf } from './identifiers.ts';
import { KeptFiles } from './kept.ts';
import { Order, type OrderAction, type OrderEvent } from './order.ts';
import { Slots } from './slots.ts';
import { AcmeProblem, plainLine } from './transport.ts';
import type { AcmeFailure, AuthoritySettings, ChallengeType, KeptCertificate, KeyType } from './types.ts';

export interface AutomaticSettings {
  /** Where accounts and certificates are kept. */
  readonly folder: string;
  /** In the order in which they are asked. */
  readonly authorities: readonly AuthoritySettings[];
  readonly email: string | undefined;
  readonly termsAgreed: boolean;
  /** How names are proven; wildcards always by dns-01. */
  readonly challenge: ChallengeType;
  readonly keyType: KeyType;
  /** Sets of names that share a certificate; a host that one covers has none of its own. */
  readonly together: readonly (readonly string[])[];
}

export interface AutomaticDeps {
  readonly store: ClusterStore;
  /** Undefined where dns-01 is not configured. */
  readonly dns: DnsRecords | undefined;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** A certificate came, or a state changed. */
  readonly changed: () => void;
}

interface Entry {
  readonly id: string;
  readonly names: readonly string[];
  readonly order: Order;
  readonly stop: AbortController;
  kept: KeptCertificate | undefined;
  certificate: Certificate | undefined;
  timer: Timer | undefined;
  /** Ends what was presented. */
  withdraw: (() => Promise<void>)[];
  slot: boolean;
  told: string;
}

export interface AutomaticCertificates extends CertificateSource, Closable {
  readonly challenges: LiveChallenges;
  /** The hosts that are served now; orders begin for new ones, and end for those that are gone. */
  want(hosts: Iterable<string>): void;
  /** Of the certificate for a host; undefined where none is wanted. */
  status(host: string): CertificateStatus | undefined;
  list(): readonly CertificateStatus[];
  /** What keeps accounts and certificates from being written; empty where nothing does. */
  problem(): string;
}

/** Reads what is kept. Nothing is ordered before `want`. */
export async function openAutomaticCertificates(settings: AutomaticSettings, deps: AutomaticDeps): Promise<AutomaticCertificates> {
  const files = new KeptFiles(join(settings.folder), deps);
  await files.open();
  const accounts: Account[] = [];
  const standings = new Map<string, Standing>();
  for (const { directory } of settings.authorities) {
    const kept = await files.account(directory);
    accounts.push(kept ?? { keyPem: await newPrivateKey('ec256'), url: undefined });
    if (kept !== undefined) standings.set(directory, kept.standing);
  }
  return new Automatic(settings, deps, files, accounts, standings, await files.certificates());
}

class Automatic implements AutomaticCertificates {
  readonly challenges: LiveChallenges;
  readonly #settings: AutomaticSettings;
  readonly #deps: AutomaticDeps;
  readonly #files: KeptFiles;
  readonly #accounts: Account[];
  readonly #authorities: Authorities;
  readonly #clients: readonly Authority[];
  /** By the names of the certificate. */
  readonly #kept = new Map<string, KeptCertificate>();
  readonly #entries = new Map<string, Entry>();
  /** Hosts that are wanted, and the entry that covers each. */
  #byHost = new Map<string, Entry>();
  readonly #slots = new Slots(ORDERS_AT_A_TIME);
  readonly #working = new Set<Promise<void>>();
  #closed = false;

  constructor(
    settings: AutomaticSettings,
    deps: AutomaticDeps,
    files: KeptFiles,
    accounts: Account[],
    standings: ReadonlyMap<string, Standing>,
    kept: readonly KeptCertificate[],
  ) {
    this.#settings = settings;
    this.#deps = deps;
    this.#files = files;
    this.#accounts = accounts;
    this.#authorities = new Authorities(
      settings.authorities.map(({ directory }) => directory),
      standings,
    );
    this.#clients = settings.authorities.map(
      (authority, index) =>
        new Authority({
          settings: authority,
          email: settings.email,
          termsAgreed: settings.termsAgreed,
          account: accounts[index] as Account,
          saveAccount: async (account) => {
            this.#accounts[index] = account;
            await this.#saveStanding(index);
          },
        }),
    );
    for (const certificate of kept) this.#kept.set(certificate.names.join(' '), certificate);
    this.challenges = new LiveChallenges({ known: (host) => this.#byHost.has(host), store: deps.store, clock: deps.clock });
  }

  find(host: string): Certificate | undefined {
    // A service's wildcard domain stands for one label; its certificate also serves a name of its own that waits for one.
    return this.#byHost.get(host)?.certificate ?? this.#byHost.get(wildcardOf(host))?.certificate;
  }

  want(hosts: Iterable<string>): void {
    if (this.#closed) return;
    const byHost = new Map<string, Entry>();
    const used = new Set<string>();
    for (const host of hosts) {
      const names = this.#namesFor(host);
      const id = names.join(' ');
      if (!used.has(id) && used.size >= CERTIFICATES_KEPT) {
        this.#deps.log.error('too many certificates; a service has none', { host, limit: CERTIFICATES_KEPT });
        continue;
      }
      used.add(id);
      byHost.set(host, this.#entries.get(id) ?? this.#add(id, names));
    }
    this.#byHost = byHost;
    for (const [id, entry] of this.#entries) if (!used.has(id)) this.#drop(entry);
  }

  status(host: string): CertificateStatus | undefined {
    const entry = this.#byHost.get(host);
    return entry === undefined ? undefined : this.#describe(entry);
  }

  list(): readonly CertificateStatus[] {
    return [...this.#entries.values()].map((entry) => this.#describe(entry));
  }

  problem(): string {
    return this.#files.problem;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const entry of this.#entries.values()) this.#drop(entry);
    await Promise.allSettled(this.#working);
    await this.#files.close();
    await Promise.all(this.#clients.map((client) => client.close()));
  }

  #namesFor(host: string): readonly string[] {
    const dot = host.indexOf('.');
    const wildcard = `*${host.slice(dot)}`;
    const shared = this.#settings.together.find((names) => names.includes(host) || (dot > 0 && names.includes(wildcard)));
    return shared ?? [host];
  }

  #add(id: string, names: readonly string[]): Entry {
    const order = new Order({ names, authorities: this.#authorities, random: this.#deps.random });
    const entry: Entry = {
      id,
      names,
      order,
      stop: new AbortController(),
      kept: undefined,
      certificate: undefined,
      timer: undefined,
      withdraw: [],
      slot: false,
      told: '',
    };
    this.#entries.set(id, entry);
    const kept = this.#kept.get(id);
    if (kept !== undefined) this.#takeKept(entry, kept);
    this.#arm(entry);
    return entry;
  }

  #drop(entry: Entry): void {
    this.#entries.delete(entry.id);
    entry.timer?.cancel();
    entry.stop.abort();
    this.#track(this.#withdraw(entry, true));
  }

  #takeKept(entry: Entry, kept: KeptCertificate): void {
    const certificate = this.#read(entry, kept);
    if (certificate === undefined) return;
    entry.kept = kept;
    entry.certificate = certificate;
    this.#feed(entry, { kind: 'certificate', validity: certificate, authority: this.#authorityOf(kept), shared: false });
  }

  /** Undefined where it is not what was asked for. */
  #read(entry: Entry, kept: KeptCertificate): Certificate | undefined {
    const certificate = readCertificate(`acme ${entry.names[0] ?? ''}`, kept.chainPem, kept.keyPem);
    return 'problem' in certificate || entry.names.some((name) => !certificate.names.includes(name)) ? undefined : certificate;
  }

  #authorityOf({ directory }: KeptCertificate): number {
    return this.#settings.authorities.findIndex((authority) => authority.directory === directory);
  }

  #arm(entry: Entry): void {
    entry.timer?.cancel();
    entry.timer = undefined;
    const at = entry.order.pollAt;
    if (at === undefined || entry.stop.signal.aborted) return;
    // Timers hold 24 days at most.
    const delay = Math.min(Math.max(0, at - this.#deps.clock.wall()), 86_400_000);
    entry.timer = this.#deps.clock.after(delay, () => this.#feed(entry, { kind: 'tick' }));
  }

  #feed(entry: Entry, event: OrderEvent): void {
    if (entry.stop.signal.aborted) return;
    const actions = entry.order.handle(event, this.#deps.clock.wall());
    for (const action of actions) this.#track(this.#act(entry, action));
    this.#tell(entry);
    this.#arm(entry);
  }

  #track(work: Promise<void>): void {
    const tracked = work.catch((error: unknown) => this.#deps.log.error('a certificate order stumbled', { error: describeError(error) }));
    this.#working.add(tracked);
    void tracked.finally(() => this.#working.delete(tracked));
  }

  async #act(entry: Entry, action: OrderAction): Promise<void> {
    if (action.kind === 'withdraw') return await this.#withdraw(entry, action.release);
    let event: OrderEvent;
    try {
      event = await this.#perform(entry, action, entry.stop.signal);
    } catch (error) {
      event = { kind: 'failed', failure: failureOf(error) };
    }
    this.#feed(entry, event);
    if ('authority' in action && action.authority >= 0) await this.#saveStanding(action.authority);
  }

  async #perform(entry: Entry, action: Exclude<OrderAction, { kind: 'withdraw' }>, signal: AbortSignal): Promise<OrderEvent> {
    if (action.kind === 'lease') return await this.#lease(entry, signal);
    const client = this.#clients[action.authority];
    if (client === undefined) return { kind: 'renewal-info', window: undefined };
    switch (action.kind) {
      case 'create': {
        const before = entry.kept?.directory === this.#authorities.directory(action.authority) ? entry.kept.chainPem : undefined;
        return { kind: 'order', order: await client.create(entry.names, certificateIdOf(before), signal) };
      }
      case 'authorize':
        return { kind: 'authorizations', list: await client.authorizations(action.order.url, this.#challengeType(entry), signal) };
      case 'present':
        for (const challenge of action.challenges) {
          await this.#present(entry, { ...challenge, keyAuthorization: await client.proof(challenge, signal) }, signal);
        }
        await this.#shareAnswers(entry, client, action.challenges, signal);
        return { kind: 'presented' };
      case 'answer':
        for (const challenge of action.challenges) await client.answer(challenge, signal);
        return { kind: 'answered' };
      case 'look':
        return { kind: 'order', order: await client.look(action.order.url, signal) };
      case 'finalize': {
        const keyPem = await newPrivateKey(this.#settings.keyType);
        const order = await client.finalize(action.order.url, entry.names, keyPem, signal);
        this.#keys.set(entry, keyPem);
        return { kind: 'order', order };
      }
      case 'download':
        return await this.#install(entry, await client.download(action.order.url, signal), action.authority, signal);
      case 'ask-renewal':
        return { kind: 'renewal-info', window: entry.kept === undefined ? undefined : await client.renewal(entry.kept.chainPem, signal) };
    }
  }

  /** The key of the order that is being finalized. */
  readonly #keys = new WeakMap<Entry, string>();

  async #lease(entry: Entry, signal: AbortSignal): Promise<OrderEvent> {
    entry.slot = await this.#slots.take(signal);
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(ACME_CALL_MS)]);
    let event: OrderEvent;
    try {
      const answer = await this.#deps.store.lease(entry.names, entry.certificate?.notAfter ?? 0, deadline);
      event =
        answer.kind === 'granted'
          ? { kind: 'leased' }
          : answer.kind === 'held'
            ? { kind: 'lease-held' }
            : await this.#adopt(entry, answer.certificate);
    } catch (error) {
      event = { kind: 'lease-unavailable', reason: plainLine(describeError(error)) };
    }
    // Without a lease the slot is for others; deciding alone, at the end of patience, takes no slot: the caps still bound it.
    if (event.kind !== 'leased' || signal.aborted) this.#leaveSlot(entry);
    // Nobody wants it any more, and it was granted after it had been given back.
    if (event.kind === 'leased' && signal.aborted) await this.#release(entry);
    return event;
  }

  async #adopt(entry: Entry, kept: KeptCertificate): Promise<OrderEvent> {
    const certificate = this.#read(entry, kept);
    if (certificate === undefined) return { kind: 'leased' };
    this.#deps.log.info('certificate taken from another gateway', { names: entry.names, expires: new Date(certificate.notAfter).toISOString() });
    await this.#putInForce(entry, kept, certificate);
    return { kind: 'certificate', validity: certificate, authority: this.#authorityOf(kept), shared: true };
  }

  async #present(entry: Entry, answer: ChallengeAnswer, signal: AbortSignal): Promise<void> {
    if (answer.type !== 'dns-01') {
      const end = await this.challenges.add(answer);
      // Dropped meanwhile: nobody would end it later.
      if (signal.aborted) return end();
      entry.withdraw.push(async () => end());
      return;
    }
    const { dns } = this.#deps;
    if (dns === undefined)
      throw new AcmeProblem({ kind: 'local', reason: 'dns-01 is needed and acme.dns is not configured', retryAfterMs: undefined });
    const name = `_acme-challenge.${answer.name}`;
    entry.withdraw.push(() => dns.remove(name, answer.keyAuthorization, AbortSignal.timeout(ACME_CALL_MS)));
    await dns.add(name, answer.keyAuthorization, signal);
  }

  /** The other gateways of the cluster may be the ones whom the authority asks. */
  async #shareAnswers(
    entry: Entry,
    client: Authority,
    challenges: readonly Extract<OrderAction, { kind: 'present' }>['challenges'][number][],
    signal: AbortSignal,
  ): Promise<void> {
    const answers: ChallengeAnswer[] = [];
    for (const challenge of challenges) {
      if (challenge.type !== 'dns-01') answers.push({ ...challenge, keyAuthorization: await client.proof(challenge, signal) });
    }
    if (answers.length === 0) return;
    try {
      await this.#deps.store.present(entry.names, answers, AbortSignal.any([signal, AbortSignal.timeout(ACME_CALL_MS)]));
    } catch (error) {
      this.#deps.log.warn('the other gateways cannot answer the challenge: the control plane did not take it', {
        names: entry.names,
        error: describeError(error),
      });
    }
  }

  async #install(entry: Entry, chainPem: string, authority: number, signal: AbortSignal): Promise<OrderEvent> {
    const keyPem = this.#keys.get(entry) ?? '';
    this.#keys.delete(entry);
    const kept: KeptCertificate = { names: entry.names, keyPem, chainPem, directory: this.#authorities.directory(authority) };
    const certificate = this.#read(entry, kept);
    if (certificate === undefined) {
      throw new AcmeProblem({ kind: 'refused', reason: 'the authority issued a certificate that does not fit the order', retryAfterMs: undefined });
    }
    await this.#putInForce(entry, kept, certificate);
    this.#deps.log.info('certificate issued', {
      names: entry.names,
      authority: kept.directory,
      expires: new Date(certificate.notAfter).toISOString(),
    });
    try {
      await this.#deps.store.share(kept, AbortSignal.any([signal, AbortSignal.timeout(ACME_CALL_MS)]));
    } catch (error) {
      this.#deps.log.warn('the certificate was not shared with the other gateways', { names: entry.names, error: describeError(error) });
    }
    return { kind: 'certificate', validity: certificate, authority, shared: false };
  }

  /** Served at once; a disk that does not take it is asked again, and costs an order after a restart at most (attack row D-15). */
  async #putInForce(entry: Entry, kept: KeptCertificate, certificate: Certificate): Promise<void> {
    entry.kept = kept;
    entry.certificate = certificate;
    this.#kept.set(entry.id, kept);
    this.#deps.changed();
    try {
      await this.#files.saveCertificate(kept);
    } catch (error) {
      this.#deps.log.error('a certificate cannot be written; it is tried again, and until then a restart would order it anew', {
        names: entry.names,
        error: describeError(error),
      });
    }
  }

  async #withdraw(entry: Entry, release: boolean): Promise<void> {
    const ends = entry.withdraw;
    entry.withdraw = [];
    for (const end of ends) {
      await end().catch((error: unknown) =>
        this.#deps.log.warn('a challenge answer was not taken back', { names: entry.names, error: describeError(error) }),
      );
    }
    if (!release) return;
    const leased = entry.slot;
    this.#leaveSlot(entry);
    if (leased) await this.#release(entry);
  }

  async #release(entry: Entry): Promise<void> {
    await this.#deps.store
      .release(entry.names, AbortSignal.timeout(ACME_CALL_MS))
      .catch((error: unknown) =>
        this.#deps.log.debug('the lease was not given back; it expires', { names: entry.names, error: describeError(error) }),
      );
  }

  #leaveSlot(entry: Entry): void {
    if (entry.slot) this.#slots.leave();
    entry.slot = false;
  }

  async #saveStanding(index: number): Promise<void> {
    const account = this.#accounts[index];
    if (account === undefined) return;
    try {
      await this.#files.saveAccount({ directory: this.#authorities.directory(index), ...account, standing: this.#authorities.standing(index) });
    } catch (error) {
      this.#deps.log.error('the ACME account cannot be written; it is tried again', { error: describeError(error) });
    }
  }

  #challengeType(entry: Entry): ChallengeType {
    return entry.names.some((name) => name.startsWith('*.')) ? 'dns-01' : this.#settings.challenge;
  }

  #describe(entry: Entry): CertificateStatus {
    const { state, reason, nextAction, nextAt } = entry.order.describe(this.#deps.clock.wall());
    const { certificate, kept } = entry;
    return {
      names: entry.names,
      source: 'acme',
      state,
      reason,
      issuer: kept === undefined ? '' : new URL(kept.directory).host,
      notBefore: certificate === undefined ? undefined : new Date(certificate.notBefore).toISOString(),
      notAfter: certificate === undefined ? undefined : new Date(certificate.notAfter).toISOString(),
      nextAction,
      nextAt: nextAt === undefined ? undefined : new Date(nextAt).toISOString(),
    };
  }

  #tell(entry: Entry): void {
    const { state, reason, nextAction, nextAt } = this.#describe(entry);
    const word = `${state} ${reason}`;
    if (entry.told === word) return;
    entry.told = word;
    const fields = { names: entry.names, state, reason, nextAction, nextAt };
    if (state === 'failed' || state === 'expiring' || state === 'expired') this.#deps.log.warn('certificate state', fields);
    else this.#deps.log.info('certificate state', fields);
    this.#deps.changed();
  }
}

function failureOf(error: unknown): AcmeFailure {
  return error instanceof AcmeProblem ? error.failure : { kind: 'local', reason: plainLine(describeError(error)), retryAfterMs: undefined };
}
