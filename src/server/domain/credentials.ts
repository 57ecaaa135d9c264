// Credentials that come with every request: headers of a service, and its users of basic authentication. One that was right is remembered by a
// digest for as long as what it was held against stays: who uses it all the time does not wait for what strangers get wrong.
import { createHmac, randomBytes } from 'node:crypto';
import { callerNetwork } from '#lib/ip.ts';
import { asId, type UserId } from '#model/ids.ts';
import type { CredentialAttempt, CredentialCheck, Identity } from '#model/identity.ts';
import type { ServiceRecord } from '../store/service-table.ts';
import { attemptRules, passwordDeadlineMs, provenCredentials } from './constants.ts';
import type { Context } from './context.ts';
import { type AttemptKey, beginAttempt, digestOf, withdrawAttempt } from './proof-attempts.ts';
import { enabledService, waysIn } from './sessions.ts';

type Hashed = CredentialAttempt & { readonly kind: 'header' | 'basic' };

export class Credentials {
  readonly #context: Context;
  readonly #key = randomBytes(32);
  /** The longest unused first. */
  readonly #proven = new Set<string>();

  constructor(context: Context) {
    this.#context = context;
  }

  async verify(attempt: Hashed, cluster: string): Promise<CredentialCheck> {
    const { store } = this.#context;
    const service = await store.read(async (tables) => await enabledService(tables, attempt.serviceId, cluster));
    const { name, secret } = canonical(attempt);
    if (service === undefined || !waysIn(service).some((all) => all.includes(attempt.kind))) return { kind: 'denied', why: 'wrong', retryAfterMs: 0 };
    const hashes = hashesOf(service, attempt.kind, name);
    const identity: Identity = { userId: asId<UserId>(`${attempt.kind}:${name}`), email: '', name, groups: [], method: attempt.kind };
    const marks = hashes.map((hash) => this.#markOf(attempt, name, secret, hash));
    if (marks.some((mark) => this.#again(mark))) return { kind: 'valid', identity };
    const keys = attemptKeys(attempt, name, hashes);
    const waitMs = await store.write(async (tables) => await beginAttempt(tables, this.#context.clock.wall(), keys));
    if (waitMs > 0) return { kind: 'denied', why: 'wait', retryAfterMs: waitMs };
    try {
      const right = await this.#hold(secret, hashes);
      if (right === undefined) return { kind: 'denied', why: 'wrong', retryAfterMs: 0 };
      await store.write(async (tables) => await withdrawAttempt(tables, keys, true));
      this.#remember(marks[right] ?? '');
      return { kind: 'valid', identity };
    } catch (error) {
      await store.write(async (tables) => await withdrawAttempt(tables, keys, false)); // too busy to look
      throw error;
    }
  }

  /** Which hash it is of; an unknown name takes as long as a known one (attack row L-1). */
  async #hold(secret: string, hashes: readonly string[]): Promise<number | undefined> {
    const signal = AbortSignal.timeout(passwordDeadlineMs);
    let right: number | undefined;
    for (const [i, hash] of (hashes.length === 0 ? [undefined] : hashes).entries()) {
      if (await this.#context.hasher.verify(secret, hash, signal)) right ??= i;
    }
    return right;
  }

  #markOf({ serviceId, kind }: Hashed, name: string, secret: string, hash: string): string {
    return createHmac('sha256', this.#key)
      .update(JSON.stringify([serviceId, kind, name, secret, hash]))
      .digest('base64');
  }

  #again(mark: string): boolean {
    if (!this.#proven.delete(mark)) return false;
    this.#proven.add(mark);
    return true;
  }

  #remember(mark: string): void {
    this.#proven.add(mark);
    for (const oldest of this.#proven) {
      if (this.#proven.size <= provenCredentials) break;
      this.#proven.delete(oldest);
    }
  }
}

/** Names and passwords of basic authentication are compared in NFC (RFC 7617 §2.1), values of headers as they are. */
function canonical({ kind, name, secret }: Hashed): { readonly name: string; readonly secret: string } {
  return kind === 'basic' ? { name: name.normalize('NFC'), secret: secret.normalize('NFC') } : { name: name.toLowerCase(), secret };
}

function hashesOf(service: ServiceRecord, kind: Hashed['kind'], name: string): readonly string[] {
  const { headers, basic } = service.auth;
  if (kind === 'header') return headers.flatMap(({ enabled, header, hash }) => (enabled && header.toLowerCase() === name ? [hash] : []));
  return basic?.enabled === true ? basic.users.flatMap((user) => (user.name === name ? [user.hash] : [])) : [];
}

function attemptKeys({ serviceId, kind, address }: Hashed, name: string, hashes: readonly string[]): readonly AttemptKey[] {
  return [
    { key: `address ${callerNetwork(address)}`, rule: attemptRules.address },
    // One subject, however it is spelled (attack row A-11); a new secret begins anew.
    { key: `${kind} ${serviceId} ${digestOf(name.normalize('NFKC').toLowerCase())} ${digestOf(hashes.join(' '))}`, rule: attemptRules[kind] },
  ];
}
