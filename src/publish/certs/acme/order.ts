// One certificate's life as a state machine: lease → order → authorizations → proof → finalize → certificate → renewal. It does no I/O:
// events and the time go in, actions come out, and `pollAt` says when it wants to be looked at again. At most one action is under way.
import { Backoff } from '#lib/backoff.ts';
import type { CertificateState } from '#model/status.ts';
import type { Authorities } from './authorities.ts';
import {
  LEASE_HELD_MS,
  LEASE_PATIENCE_MS,
  LEASE_RETRY,
  ORDER_MS,
  POLL_FACTOR,
  POLL_FIRST_MS,
  POLL_MAX_MS,
  RENEWAL_PATIENCE_MS,
  RETRY,
} from './constants.ts';
import { renewalPoll, renewalTime, renewalTimeIn, type Validity } from './renewal.ts';
import type { AcmeFailure, AuthorizationView, ChallengeView, OrderView, RenewalWindow } from './types.ts';

export type OrderEvent =
  | { readonly kind: 'tick' }
  | { readonly kind: 'leased' }
  /** Another gateway of the cluster is at it. */
  | { readonly kind: 'lease-held' }
  | { readonly kind: 'lease-unavailable'; readonly reason: string }
  /** A certificate is in force: from the disk, from the cluster, or the one that was ordered. */
  | { readonly kind: 'certificate'; readonly validity: Validity; readonly authority: number; readonly shared: boolean }
  | { readonly kind: 'order'; readonly order: OrderView }
  | { readonly kind: 'authorizations'; readonly list: readonly AuthorizationView[] }
  | { readonly kind: 'presented' }
  | { readonly kind: 'answered' }
  /** Undefined where the authority has no word on renewal. */
  | { readonly kind: 'renewal-info'; readonly window: RenewalWindow | undefined }
  | { readonly kind: 'failed'; readonly failure: AcmeFailure };

export type OrderAction =
  | { readonly kind: 'lease' }
  /** Takes the challenge answers back; `release` also ends the lease. */
  | { readonly kind: 'withdraw'; readonly release: boolean }
  | { readonly kind: 'create'; readonly authority: number }
  | { readonly kind: 'authorize'; readonly authority: number; readonly order: OrderView }
  | { readonly kind: 'present'; readonly authority: number; readonly challenges: readonly ChallengeView[] }
  | { readonly kind: 'answer'; readonly authority: number; readonly challenges: readonly ChallengeView[] }
  | { readonly kind: 'look'; readonly authority: number; readonly order: OrderView }
  | { readonly kind: 'finalize'; readonly authority: number; readonly order: OrderView }
  | { readonly kind: 'download'; readonly authority: number; readonly order: OrderView }
  | { readonly kind: 'ask-renewal'; readonly authority: number };

/** Where the one action under way, or the next one, stands. */
type Step =
  | { readonly kind: 'resting'; readonly until: number }
  | { readonly kind: 'leasing'; readonly until: number }
  | { readonly kind: 'creating' }
  | { readonly kind: 'authorizing'; readonly order: OrderView }
  | { readonly kind: 'presenting'; readonly order: OrderView; readonly challenges: readonly ChallengeView[] }
  | { readonly kind: 'answering'; readonly order: OrderView }
  | { readonly kind: 'validating'; readonly order: OrderView; readonly until: number }
  | { readonly kind: 'settling'; readonly order: OrderView; readonly until: number }
  | { readonly kind: 'finalizing' }
  | { readonly kind: 'downloading' };

export interface Progress {
  readonly state: CertificateState;
  /** Why it is not simply valid; empty where there is nothing to say. */
  readonly reason: string;
  readonly nextAction: string;
  /** Wall-clock milliseconds; undefined where it is being done. */
  readonly nextAt: number | undefined;
}

export interface OrderOptions {
  /** Canonical, sorted. */
  readonly names: readonly string[];
  readonly authorities: Authorities;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export class Order {
  readonly #names: readonly string[];
  readonly #authorities: Authorities;
  readonly #random: () => number;
  readonly #retry: Backoff;
  readonly #leaseRetry: Backoff;
  #step: Step = { kind: 'resting', until: 0 };
  #validity: Validity | undefined;
  /** Who issued what is in force, to be asked when it wants it renewed. */
  #issuer = 0;
  #renewAt = 0;
  #askRenewalAt: number | undefined;
  #busy = false;
  /** Authorities that failed in this round. */
  #passed = new Set<number>();
  #authority = 0;
  #deadline = 0;
  #pollMs = POLL_FIRST_MS;
  #leaseSince: number | undefined;
  #leasePatience = 0;
  #alone = '';
  #reason = '';
  #failed = false;

  constructor(options: OrderOptions) {
    this.#names = options.names;
    this.#authorities = options.authorities;
    this.#random = options.random;
    this.#retry = new Backoff({ ...RETRY, random: options.random });
    this.#leaseRetry = new Backoff({ ...LEASE_RETRY, random: options.random });
  }

  /** When to send the next tick, wall-clock milliseconds; undefined while an action is under way. */
  get pollAt(): number | undefined {
    if (this.#busy) return undefined;
    const until = 'until' in this.#step ? this.#step.until : 0;
    return this.#step.kind === 'resting' && this.#askRenewalAt !== undefined ? Math.min(until, this.#askRenewalAt) : until;
  }

  /** Whether an order is under way, so that a caller can bound how many are. */
  get ordering(): boolean {
    return this.#step.kind !== 'resting' && this.#step.kind !== 'leasing';
  }

  handle(event: OrderEvent, now: number): readonly OrderAction[] {
    if (event.kind !== 'tick') this.#busy = false;
    const actions = this.#next(event, now);
    if (actions.some(({ kind }) => kind !== 'withdraw')) this.#busy = true;
    return actions;
  }

  describe(now: number): Progress {
    const { state, reason } = this.#state(now);
    return {
      state,
      reason: this.#alone === '' || state === 'valid' ? reason : [reason, this.#alone].filter((part) => part !== '').join('; '),
      ...this.#nextAction(now),
    };
  }

  #state(now: number): { readonly state: CertificateState; readonly reason: string } {
    const live = this.#validity !== undefined && this.#validity.notAfter > now;
    if (this.#validity === undefined) return { state: this.#failed ? 'failed' : 'pending', reason: this.#reason };
    if (!live) return { state: 'expired', reason: this.#reason === '' ? 'it has expired' : this.#reason };
    if (this.#failed) return { state: 'expiring', reason: this.#reason };
    return this.#step.kind === 'resting' && this.#renewAt > now ? { state: 'valid', reason: '' } : { state: 'renewing', reason: this.#reason };
  }

  #nextAction(now: number): Pick<Progress, 'nextAction' | 'nextAt'> {
    const at = this.pollAt;
    const nextAt = at === undefined || at <= now ? undefined : at;
    switch (this.#step.kind) {
      case 'resting':
        return { nextAction: this.#validity === undefined ? 'order' : 'renew', nextAt: this.#step.until <= now ? undefined : this.#step.until };
      case 'leasing':
        return { nextAction: 'ask for the lease', nextAt };
      case 'creating':
      case 'authorizing':
        return { nextAction: 'order', nextAt: undefined };
      case 'presenting':
      case 'answering':
        return { nextAction: 'prove the names', nextAt: undefined };
      case 'validating':
        return { nextAction: 'wait for the authority to check the names', nextAt };
      case 'finalizing':
      case 'settling':
        return { nextAction: 'wait for the authority to issue', nextAt };
      case 'downloading':
        return { nextAction: 'fetch the certificate', nextAt: undefined };
    }
  }

  #next(event: OrderEvent, now: number): readonly OrderAction[] {
    switch (event.kind) {
      case 'tick':
        return this.#busy ? [] : this.#tick(now);
      case 'certificate':
        return this.#hold(event, now);
      case 'renewal-info':
        this.#learn(event.window, now);
        return [];
      case 'leased':
        this.#alone = '';
        this.#leaseSince = undefined;
        this.#leaseRetry.reset();
        return this.#begin(now);
      case 'lease-held':
        this.#leaseSince = undefined;
        this.#reason = 'another gateway of the cluster orders it';
        return this.#step.kind === 'leasing' ? this.#goTo({ kind: 'leasing', until: now + LEASE_HELD_MS }) : [];
      case 'lease-unavailable':
        return this.#withoutLease(event.reason, now);
      case 'failed':
        return this.#fail(event.failure, now);
      case 'order':
        return this.#ordered(event.order, now);
      case 'authorizations':
        return this.#authorized(event.list, now);
      case 'presented':
        if (this.#step.kind !== 'presenting') return [];
        return this.#goTo(
          { kind: 'answering', order: this.#step.order },
          { kind: 'answer', authority: this.#authority, challenges: this.#step.challenges },
        );
      case 'answered':
        return this.#step.kind === 'answering' ? this.#goTo({ kind: 'validating', order: this.#step.order, until: this.#poll(now) }) : [];
    }
  }

  #tick(now: number): readonly OrderAction[] {
    const step = this.#step;
    if (this.ordering && now >= this.#deadline) {
      const seconds = ORDER_MS / 1000;
      return this.#fail({ kind: 'unavailable', reason: `the order was not through within ${seconds} s`, retryAfterMs: undefined }, now);
    }
    switch (step.kind) {
      case 'resting':
        if (now >= step.until) return this.#goTo({ kind: 'leasing', until: now }, { kind: 'lease' });
        if (this.#askRenewalAt === undefined || now < this.#askRenewalAt) return [];
        this.#askRenewalAt = undefined;
        return [{ kind: 'ask-renewal', authority: this.#issuer }];
      case 'leasing':
        return now >= step.until ? [{ kind: 'lease' }] : [];
      case 'validating':
        return now >= step.until ? [{ kind: 'authorize', authority: this.#authority, order: step.order }] : [];
      case 'settling':
        return now >= step.until ? [{ kind: 'look', authority: this.#authority, order: step.order }] : [];
      case 'creating':
      case 'authorizing':
      case 'presenting':
      case 'answering':
      case 'finalizing':
      case 'downloading':
        return [];
    }
  }

  /** An order with the first authority that may be asked; with a wait, where none may. */
  #begin(now: number): readonly OrderAction[] {
    const choice = this.#authorities.choose(this.#names, now, this.#passed);
    if (choice.kind === 'wait') {
      // Every authority was tried or must be left alone.
      const retryAt = this.#passed.size === 0 ? choice.until : now + this.#retry.next();
      this.#passed.clear();
      if (this.#reason === '' || !this.#failed) this.#reason = choice.reason;
      this.#failed = true;
      return this.#rest(retryAt, now);
    }
    this.#authority = choice.authority;
    this.#deadline = now + ORDER_MS;
    this.#pollMs = POLL_FIRST_MS;
    this.#authorities.ordered(choice.authority, this.#names, now);
    return this.#goTo({ kind: 'creating' }, { kind: 'create', authority: choice.authority });
  }

  #withoutLease(reason: string, now: number): readonly OrderAction[] {
    if (this.#step.kind !== 'leasing') return [];
    if (this.#leaseSince === undefined) {
      this.#leaseSince = now;
      const patience =
        this.#validity !== undefined && this.#validity.notAfter > now + 2 * RENEWAL_PATIENCE_MS ? RENEWAL_PATIENCE_MS : LEASE_PATIENCE_MS;
      this.#leasePatience = patience * (0.5 + this.#random());
    }
    this.#reason = `the control plane cannot be asked who orders it: ${reason}`;
    if (now - this.#leaseSince < this.#leasePatience) return this.#goTo({ kind: 'leasing', until: now + this.#leaseRetry.next() });
    this.#leaseSince = undefined;
    this.#leaseRetry.reset();
    this.#alone = 'ordered without asking the other gateways, because the control plane is away';
    return this.#begin(now);
  }

  #ordered(order: OrderView, now: number): readonly OrderAction[] {
    const authority = this.#authority;
    switch (order.status) {
      case 'invalid':
        return this.#fail({ kind: 'validation', reason: order.problem || 'the authority called the order invalid', retryAfterMs: undefined }, now);
      case 'pending':
        if (this.#step.kind === 'creating') return this.#goTo({ kind: 'authorizing', order }, { kind: 'authorize', authority, order });
        return this.#goTo({ kind: 'settling', order, until: this.#poll(now) });
      case 'ready':
        return this.#goTo({ kind: 'finalizing' }, { kind: 'finalize', authority, order });
      case 'processing':
        return this.#goTo({ kind: 'settling', order, until: this.#poll(now) });
      case 'valid':
        return this.#goTo({ kind: 'downloading' }, { kind: 'download', authority, order });
    }
  }

  #authorized(list: readonly AuthorizationView[], now: number): readonly OrderAction[] {
    const step = this.#step;
    if (step.kind !== 'authorizing' && step.kind !== 'validating') return [];
    const failed = list.filter(({ status }) => status === 'failed');
    if (failed.length > 0) {
      const reason = failed.map(({ name, problem }) => `${name}: ${problem || 'the authority could not check it'}`).join('; ');
      return this.#fail(
        { kind: 'validation', reason, retryAfterMs: undefined },
        now,
        failed.map(({ name }) => name),
      );
    }
    const pending = list.filter(({ status }) => status === 'pending');
    if (pending.length === 0)
      return this.#goTo({ kind: 'settling', order: step.order, until: now }, { kind: 'look', authority: this.#authority, order: step.order });
    if (step.kind === 'validating') return this.#goTo({ ...step, until: this.#poll(now) });
    const challenges = pending.flatMap(({ challenge }) => (challenge === undefined ? [] : [challenge]));
    if (challenges.length < pending.length) {
      const missing = pending.filter(({ challenge }) => challenge === undefined).map(({ name }) => name);
      return this.#fail(
        { kind: 'refused', reason: `the authority does not offer the configured challenge for ${missing.join(', ')}`, retryAfterMs: undefined },
        now,
      );
    }
    return this.#goTo({ kind: 'presenting', order: step.order, challenges }, { kind: 'present', authority: this.#authority, challenges });
  }

  #hold(event: Extract<OrderEvent, { kind: 'certificate' }>, now: number): readonly OrderAction[] {
    const ordered = this.ordering;
    if (ordered && !event.shared) this.#authorities.answered(this.#authority, now);
    this.#validity = event.validity;
    this.#issuer = event.authority;
    this.#renewAt = renewalTime(event.validity, this.#random());
    this.#askRenewalAt = now;
    this.#failed = false;
    this.#reason = '';
    this.#passed.clear();
    this.#retry.reset();
    this.#leaseSince = undefined;
    this.#step = { kind: 'resting', until: this.#renewAt };
    return ordered || event.shared ? [{ kind: 'withdraw', release: true }] : [];
  }

  #learn(window: RenewalWindow | undefined, now: number): void {
    if (this.#validity === undefined || this.#step.kind !== 'resting') return;
    // No word now may be a failed question: it is asked again, and what was planned stays.
    this.#askRenewalAt = now + renewalPoll(window?.pollMs ?? Number.POSITIVE_INFINITY);
    if (window === undefined || this.#failed) return;
    this.#renewAt = renewalTimeIn(window, this.#validity, this.#random());
    this.#step = { kind: 'resting', until: Math.max(now, this.#renewAt) };
  }

  #fail(failure: AcmeFailure, now: number, names: readonly string[] = []): readonly OrderAction[] {
    // A question about renewal that fails changes nothing.
    if (this.#step.kind === 'resting') {
      this.#learn(undefined, now);
      return [];
    }
    if (this.#step.kind === 'leasing') return this.#withoutLease(failure.reason, now);
    this.#failed = true;
    const host = new URL(this.#authorities.directory(this.#authority)).host;
    this.#reason = `${host}: ${failure.reason}`;
    this.#authorities.failed(this.#authority, this.#names, names, failure, now);
    switch (failure.kind) {
      case 'limited':
      case 'unavailable':
      case 'refused': {
        this.#passed.add(this.#authority);
        const next = this.#begin(now);
        return next.some(({ kind }) => kind === 'create') ? [{ kind: 'withdraw', release: false }, ...next] : next;
      }
      case 'validation':
      case 'local':
        // Another authority would see the same: the names are mended first.
        return this.#rest(now + this.#retry.next(), now);
    }
  }

  #rest(until: number, now: number): readonly OrderAction[] {
    this.#step = { kind: 'resting', until: Math.max(now, until) };
    return [{ kind: 'withdraw', release: true }];
  }

  #goTo(step: Step, action?: OrderAction): readonly OrderAction[] {
    this.#step = step;
    return action === undefined ? [] : [action];
  }

  #poll(now: number): number {
    const wait = this.#pollMs;
    this.#pollMs = Math.min(POLL_MAX_MS, wait * POLL_FACTOR);
    return now + wait;
  }
}
