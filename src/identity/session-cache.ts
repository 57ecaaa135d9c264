// The gateway's view of who is signed in: sessions and service tokens as the authority told them, with revocations applied at once.
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { tokenDigest } from '#crypto/tokens.ts';
import type { PublicKey, ServiceId, SessionId, UserId } from '#model/ids.ts';
import type { Revocation, Session, SessionAuthority, SessionLookup, TokenCheck } from '#model/identity.ts';
import { AnswerCache, type AnswerCacheOptions, type EndReason } from './answer-cache.ts';
import { authorityMs, credentialLength, sweepMs } from './constants.ts';

export interface SessionCacheOptions {
  readonly authority: SessionAuthority;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Whose trust has ended; whatever is open under it has to be closed. */
export type EndedTrust =
  | { readonly kind: 'session'; readonly sessionKey: string; readonly userId: UserId; readonly serviceId: ServiceId; readonly reason: EndReason }
  /** A service token, or a peer of the mesh: `sessionKey` is the digest of the token or the public key, in base64. */
  | { readonly kind: 'token'; readonly sessionKey: string; readonly userId: UserId; readonly serviceId: ServiceId; readonly reason: EndReason };

/** A token is answered for one service. */
interface TokenAnswer {
  readonly check: TokenCheck;
  readonly serviceId: ServiceId;
}

/** A peer is answered for one service. */
interface PeerAnswer extends TokenAnswer {
  readonly key: PublicKey;
}

/** The key under which a session or token is known here: its digest, so that memory and logs hold nothing that opens a door. */
export function sessionKey(plain: string): string {
  return tokenDigest(plain);
}

export class SessionCache implements Closable {
  readonly #options: SessionCacheOptions;
  readonly #sessions: AnswerCache<SessionLookup>;
  readonly #tokens: AnswerCache<TokenAnswer>;
  readonly #peers: AnswerCache<PeerAnswer>;
  readonly #listeners = new Set<(ended: EndedTrust) => void>();
  #timer: Timer | undefined;
  #revision = 0;
  #closed = false;

  constructor(options: SessionCacheOptions) {
    const { clock } = options;
    this.#options = options;
    this.#sessions = new AnswerCache<SessionLookup>({
      clock,
      live: (answer) => answer.kind === 'live',
      expiresAt: (answer) => (answer.kind === 'live' ? answer.session.expiresAt : 0),
      idleMs: (answer) => (answer.kind === 'live' ? answer.session.idleMs : undefined),
      revoked: { kind: 'none', why: 'revoked' },
      expired: { kind: 'none', why: 'expired' },
      ended: (key, answer, reason) => {
        if (answer.kind !== 'live') return;
        const { serviceId, identity } = answer.session;
        this.#tell({ kind: 'session', sessionKey: digestOf(key), userId: identity.userId, serviceId, reason });
      },
    });
    const denied: TokenAnswer = { check: { kind: 'denied', why: 'token_invalid' }, serviceId: '' as ServiceId };
    const tokens = {
      clock,
      live: ({ check }) => check.kind === 'valid',
      expiresAt: () => Number.POSITIVE_INFINITY, // the authority knows when a token ends
      idleMs: () => undefined,
      revoked: denied,
      expired: denied,
      ended: (key, { check, serviceId }, reason) => {
        if (check.kind === 'valid') this.#tell({ kind: 'token', sessionKey: digestOf(key), userId: check.identity.userId, serviceId, reason });
      },
    } satisfies AnswerCacheOptions<TokenAnswer>;
    this.#tokens = new AnswerCache<TokenAnswer>(tokens);
    const nobody: PeerAnswer = { ...denied, key: '' as PublicKey };
    this.#peers = new AnswerCache<PeerAnswer>({ ...tokens, revoked: nobody, expired: nobody });
    this.#scheduleSweep();
  }

  /** The session behind a cookie's value at a service; without a promise where it is known. Rejects where nobody can be asked. */
  findSession(id: SessionId, serviceId: ServiceId, signal: AbortSignal): SessionLookup | Promise<SessionLookup> {
    if (id === '' || id.length > credentialLength) return { kind: 'none', why: 'unknown' };
    const found = this.#sessions.lookup(
      keyOf(id, serviceId),
      async (deadline) => {
        const answer = await this.#options.authority.findSession(id, serviceId, deadline);
        // The authority answers for this service; a session of another is none here, whoever says so.
        return answer.kind === 'live' && answer.session.serviceId !== serviceId ? { kind: 'none', why: 'unknown' } : answer;
      },
      signal,
    );
    return found;
  }

  /** What a service token stands for at a service; rules as for sessions. */
  verifyServiceToken(plain: string, serviceId: ServiceId, signal: AbortSignal): TokenCheck | Promise<TokenCheck> {
    if (plain === '' || plain.length > credentialLength) return { kind: 'denied', why: 'token_invalid' };
    const ask = async (deadline: AbortSignal): Promise<TokenAnswer> => ({
      check: await this.#options.authority.verifyServiceToken(plain, serviceId, deadline),
      serviceId,
    });
    const found = this.#tokens.lookup(keyOf(plain, serviceId), ask, signal);
    return found instanceof Promise ? found.then((answer) => answer.check) : found.check;
  }

  /** Whom a peer that came over the mesh stands for at a service; rules as for sessions. */
  verifyPeer(key: PublicKey, serviceId: ServiceId, signal: AbortSignal): TokenCheck | Promise<TokenCheck> {
    const ask = async (deadline: AbortSignal): Promise<PeerAnswer> => ({
      check: await this.#options.authority.verifyPeer(key, serviceId, deadline),
      serviceId,
      key,
    });
    const found = this.#peers.lookup(keyOf(key, serviceId), ask, signal);
    return found instanceof Promise ? found.then((answer) => answer.check) : found.check;
  }

  /** Peers or their groups may be others: asks for each again at once, and ends what was opened by those who may not come any more. */
  recheckPeers(): void {
    this.#peers.distrust();
    // What was asked before is worth nothing; what is kept is asked for below.
    let asked = false;
    this.#peers.revoke(() => asked);
    asked = true;
    for (const { key, serviceId } of this.#peers.answers()) {
      const again = (): TokenCheck | Promise<TokenCheck> => this.verifyPeer(key, serviceId, AbortSignal.timeout(authorityMs));
      const checked = again();
      // It may have been one that was under way, and worth nothing; what has just been answered costs no question.
      if (checked instanceof Promise) checked.then(again).catch(() => undefined); // the entry has taken note
    }
  }

  /** Grows with each revocation, and where some may have been missed. */
  get revision(): number {
    return this.#revision;
  }

  /**
   * Keeps a session that has just been made, so that its first request asks nobody. Not where something has been revoked since `revision`,
   * read before it was asked for: then the session may be dead already, and its first request asks.
   */
  remember(session: Session, revision: number): void {
    if (revision !== this.#revision) return;
    this.#sessions.put(keyOf(session.id, session.serviceId), { kind: 'live', session });
  }

  /** Ends what the revocation names, before this returns. */
  revoke(revocation: Revocation): void {
    this.#revision++;
    const ofUser = (userId: UserId): void => {
      this.#sessions.revoke((_key, answer) => answer.kind === 'live' && answer.session.identity.userId === userId);
      for (const cache of [this.#tokens, this.#peers]) cache.revoke((_key, { check }) => check.kind === 'valid' && check.identity.userId === userId);
    };
    switch (revocation.kind) {
      case 'session':
        return this.#sessions.revoke((key) => digestOf(key) === revocation.digest);
      case 'user':
        return ofUser(revocation.userId);
      case 'service':
        this.#sessions.revoke((_key, answer) => answer.kind === 'live' && answer.session.serviceId === revocation.serviceId);
        for (const cache of [this.#tokens, this.#peers]) cache.revoke((_key, { serviceId }) => serviceId === revocation.serviceId);
        return;
      case 'token':
        return this.#tokens.revoke((key) => digestOf(key) === revocation.digest);
    }
  }

  /** Revocations may have been missed: every session and token is asked for again before it serves the next time. */
  distrust(): void {
    this.#revision++;
    this.#sessions.distrust();
    this.#tokens.distrust();
    this.#peers.distrust();
  }

  /** Calls back for each session or token that ends; returns how to stop. */
  onEnd(listener: (ended: EndedTrust) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get size(): number {
    return this.#sessions.size + this.#tokens.size + this.#peers.size;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#listeners.clear();
  }

  #tell(ended: EndedTrust): void {
    for (const listener of this.#listeners) {
      try {
        listener(ended);
      } catch (error) {
        this.#options.log.error('an open stream could not be ended', { error: describeError(error) });
      }
    }
  }

  #scheduleSweep(): void {
    this.#timer = this.#options.clock.after(sweepMs, () => {
      this.#sessions.sweep();
      this.#tokens.sweep();
      this.#peers.sweep();
      if (!this.#closed) this.#scheduleSweep();
    });
  }
}

function keyOf(plain: string, serviceId: ServiceId): string {
  return `${sessionKey(plain)} ${serviceId}`;
}

function digestOf(key: string): string {
  return key.slice(0, key.indexOf(' '));
}
