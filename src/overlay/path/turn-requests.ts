// The requests of a TURN client that wait for their answer: repeated with growing pauses, authenticated once the server has named its realm
// and nonce (RFC 8489 §9.2), sent again with a fresh nonce where that went stale.
import { toHex } from '#lib/bytes.ts';
import { encodeTurn, longTermKey, type TurnCredentials, type TurnDraft, type TurnMessage, verifyTurnIntegrity } from '#wire/turn.ts';
import { TURN_ATTEMPTS, TURN_MAX_OPEN_REQUESTS, TURN_MAX_STALE, TURN_RETRY_MS } from '../constants.ts';

/** What became of a request: the server's answer, or the code of its error, or nothing came. */
export type TurnOutcome =
  | { readonly kind: 'success'; readonly message: TurnMessage }
  | { readonly kind: 'error'; readonly code: number }
  | { readonly kind: 'silence' };

export type TurnRequest = Omit<TurnDraft, 'class' | 'transactionId' | 'data'>;

interface Open {
  readonly request: TurnRequest;
  readonly done: (outcome: TurnOutcome, now: number) => void;
  datagram: Uint8Array;
  authenticated: boolean;
  attempts: number;
  stale: number;
  nextAt: number;
}

export interface TurnRequestsOptions {
  readonly username: string;
  readonly password: string;
  readonly random: (target: Uint8Array) => void;
  readonly send: (datagram: Uint8Array) => void;
}

export class TurnRequests {
  readonly #options: TurnRequestsOptions;
  readonly #open = new Map<string, Open>();
  #credentials: TurnCredentials | undefined;

  constructor(options: TurnRequestsOptions) {
    this.#options = options;
  }

  get full(): boolean {
    return this.#open.size >= TURN_MAX_OPEN_REQUESTS;
  }

  /** Sends; `done` is called once, never during this call. Beyond the limit the oldest request is given up silently. */
  send(request: TurnRequest, done: Open['done'], now: number): void {
    const [oldest] = this.#open.keys();
    if (this.full && oldest !== undefined) this.#open.delete(oldest);
    this.#transmit({ request, done, datagram: new Uint8Array(0), authenticated: false, attempts: 0, stale: 0, nextAt: now }, now);
  }

  /** Sends once and forgets: for the farewell. */
  tell(request: TurnRequest): void {
    this.#options.send(encodeTurn({ ...request, class: 'request', transactionId: this.#newId() }, this.#credentials));
  }

  /** True where the message answers a request. What is not proven to be the server's is ignored. */
  receive(message: TurnMessage, now: number): boolean {
    const id = toHex(message.transactionId);
    const open = this.#open.get(id);
    if (open === undefined || message.method !== open.request.method) return false;
    if (message.class === 'success') {
      // An answer to a request that was signed is signed too. Errors need not be: the server may not know us any more.
      if (open.authenticated && (this.#credentials === undefined || !verifyTurnIntegrity(message, this.#credentials.key))) return false;
      this.#open.delete(id);
      open.done({ kind: 'success', message }, now);
      return true;
    }
    if (message.class !== 'error' || message.errorCode === undefined) return false;
    this.#open.delete(id);
    if (this.#mayRepeat(open, message)) this.#transmit(open, now);
    else open.done({ kind: 'error', code: message.errorCode }, now);
    return true;
  }

  poll(now: number): void {
    for (const [id, open] of this.#open) {
      if (now < open.nextAt) continue;
      if (open.attempts < TURN_ATTEMPTS) {
        this.#attempt(open, now);
        continue;
      }
      this.#open.delete(id);
      open.done({ kind: 'silence' }, now);
    }
  }

  pollAt(): number {
    let at = Infinity;
    for (const open of this.#open.values()) at = Math.min(at, open.nextAt);
    return at;
  }

  clear(): void {
    this.#open.clear();
  }

  /** Whether the error only told us how to ask. */
  #mayRepeat(open: Open, { errorCode, realm, nonce }: TurnMessage): boolean {
    if (nonce === undefined || nonce.length === 0) return false;
    const { username, password } = this.#options;
    if (errorCode === 401 && realm !== undefined && !open.authenticated) {
      if (this.#credentials?.realm === realm) this.#credentials = { ...this.#credentials, nonce: Buffer.from(nonce) };
      else this.#credentials = { username, realm, nonce: Buffer.from(nonce), key: longTermKey(username, realm, password) };
      return true;
    }
    if (errorCode !== 438 || this.#credentials === undefined || open.stale >= TURN_MAX_STALE) return false;
    open.stale++;
    this.#credentials = { ...this.#credentials, nonce: Buffer.from(nonce) };
    return true;
  }

  #transmit(open: Open, now: number): void {
    const transactionId = this.#newId();
    open.datagram = encodeTurn({ ...open.request, class: 'request', transactionId }, this.#credentials);
    open.authenticated = this.#credentials !== undefined;
    open.attempts = 0;
    this.#open.set(toHex(transactionId), open);
    this.#attempt(open, now);
  }

  #attempt(open: Open, now: number): void {
    open.nextAt = now + TURN_RETRY_MS * 2 ** open.attempts;
    open.attempts++;
    this.#options.send(open.datagram);
  }

  #newId(): Uint8Array {
    const id = new Uint8Array(12);
    this.#options.random(id);
    return id;
  }
}
