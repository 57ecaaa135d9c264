// The order engine in virtual time: a whole order, renewal by schedule and by the authority's word, fallback, caps, backoff, and leases.
import t from 'tap';
import { Authorities } from '#publish/certs/acme/authorities.ts';
import {
  FAILURES_PER_NAME,
  LEASE_PATIENCE_MS,
  ORDER_MS,
  ORDERS_PER_HOUR,
  ORDERS_PER_NAMES,
  RENEWAL_PATIENCE_MS,
} from '#publish/certs/acme/constants.ts';
import { Order, type OrderAction, type OrderEvent } from '#publish/certs/acme/order.ts';
import type { AcmeFailure, OrderView } from '#publish/certs/acme/types.ts';
import { seeded } from '../../support/seeded.ts';

const day = 86_400_000;
const hour = 3_600_000;
const start = Date.UTC(2026, 0, 1);
const names = ['a.example.com'];
const pending: OrderView = { url: 'https://one.test/o/1', status: 'pending', problem: '' };
const challenge = { name: 'a.example.com', type: 'http-01' as const, url: 'https://one.test/c/1', token: 'tok' };

function failure(kind: AcmeFailure['kind'], retryAfterMs?: number): OrderEvent {
  return { kind: 'failed', failure: { kind, reason: `${kind}!`, retryAfterMs } };
}

/** Drives one order: each action is answered by `answer`, time jumps to whatever is due next. */
class World {
  now = start;
  readonly log: { readonly at: number; readonly action: OrderAction }[] = [];
  readonly authorities: Authorities;
  readonly order: Order;
  answer: (action: OrderAction, world: World) => OrderEvent;

  constructor(options: { directories?: readonly string[]; seed?: number; answer?: World['answer'] } = {}) {
    const random = seeded(options.seed ?? 1);
    this.authorities = new Authorities(options.directories ?? ['https://one.test/dir', 'https://two.test/dir']);
    this.order = new Order({ names, authorities: this.authorities, random });
    this.answer = options.answer ?? succeed;
  }

  feed(event: OrderEvent): void {
    for (const action of this.order.handle(event, this.now)) {
      this.log.push({ at: this.now, action });
      if (action.kind !== 'withdraw') this.feed(this.answer(action, this));
    }
  }

  runUntil(end: number): void {
    for (let steps = 0; steps < 100_000; steps++) {
      const at = this.order.pollAt;
      if (at === undefined || at > end) break;
      this.now = Math.max(this.now, at);
      this.feed({ kind: 'tick' });
    }
    this.now = end;
  }

  times(kind: OrderAction['kind']): readonly number[] {
    return this.log.filter(({ action }) => action.kind === kind).map(({ at }) => at - start);
  }
}

/** An authority where all goes well: certificates live for 90 days. */
function succeed(action: OrderAction, world: World): OrderEvent {
  switch (action.kind) {
    case 'lease':
      return { kind: 'leased' };
    case 'create':
      return { kind: 'order', order: pending };
    case 'authorize': {
      const answered =
        world.log.findLastIndex((entry) => entry.action.kind === 'answer') > world.log.findLastIndex((entry) => entry.action.kind === 'create');
      return { kind: 'authorizations', list: [{ name: 'a.example.com', status: answered ? 'valid' : 'pending', challenge, problem: '' }] };
    }
    case 'present':
      return { kind: 'presented' };
    case 'answer':
      return { kind: 'answered' };
    case 'look':
      return { kind: 'order', order: { ...pending, status: 'ready' } };
    case 'finalize':
      return { kind: 'order', order: { ...pending, status: 'valid' } };
    case 'download':
      return { kind: 'certificate', validity: { notBefore: world.now, notAfter: world.now + 90 * day }, authority: action.authority, shared: false };
    case 'ask-renewal':
      return { kind: 'renewal-info', window: undefined };
    case 'withdraw':
      throw new TypeError('withdraw has no answer');
  }
}

void t.test('an order goes its way once, and is renewed between two thirds of the lifetime and a little later', async (t) => {
  const world = new World();
  world.runUntil(start + day);
  const way = world.log.map(({ action }) => action.kind).filter((kind) => kind !== 'ask-renewal');
  t.same(way, ['lease', 'create', 'authorize', 'present', 'answer', 'authorize', 'look', 'finalize', 'download', 'withdraw']);
  t.match(world.order.describe(world.now), { state: 'valid', reason: '', nextAction: 'renew' });
  world.runUntil(start + 365 * day);
  const creates = world.times('create');
  t.equal(creates.length, 6);
  for (const [index, at] of creates.entries()) {
    const since = at - (creates[index - 1] ?? at);
    if (index > 0) t.ok(since >= 60 * day && since <= 65 * day, `${since / day} days`);
  }
});

void t.test('renewal times of many gateways are spread', async (t) => {
  const days = Array.from({ length: 50 }, (_none, seed) => {
    const world = new World({ seed });
    world.runUntil(start + 80 * day);
    return Math.floor((world.times('create')[1] ?? 0) / hour);
  });
  t.ok(new Set(days).size > 25, `${new Set(days).size} different hours`);
});

void t.test('the authority’s window decides; one in the past means at once', async (t) => {
  const window = { start: start + 10 * day, end: start + 11 * day, pollMs: 6 * hour };
  const world = new World({ answer: (action, own) => (action.kind === 'ask-renewal' ? { kind: 'renewal-info', window } : succeed(action, own)) });
  world.runUntil(start + 12 * day);
  const renewed = world.times('create')[1] ?? 0;
  t.ok(renewed >= 10 * day && renewed <= 11 * day, `${renewed / day} days`);
  t.ok(world.times('ask-renewal').length >= 40, 'asked every six hours');

  const revoked = { start: start - 2 * day, end: start - day, pollMs: 6 * hour };
  let told = 0;
  const urgent = new World({
    answer: (action, own) => (action.kind === 'ask-renewal' && told++ === 0 ? { kind: 'renewal-info', window: revoked } : succeed(action, own)),
  });
  urgent.runUntil(start + hour);
  t.equal(urgent.times('create').length, 2);
});

void t.test('an authority that limits, refuses or is away is passed over, and asked again first later', async (t) => {
  for (const kind of ['limited', 'unavailable', 'refused'] as const) {
    const world = new World({
      answer: (action, own) => (action.kind === 'create' && action.authority === 0 && own.now < start + hour ? failure(kind) : succeed(action, own)),
    });
    world.runUntil(start + 100 * day);
    const asked = world.log.flatMap(({ action }) => (action.kind === 'create' ? [action.authority] : []));
    t.same(asked, [0, 1, 0], kind);
    const released = world.log.filter(({ action }) => action.kind === 'withdraw' && action.release);
    t.equal(released.length, 2, 'the lease is kept over the fallback');
  }
});

void t.test('Retry-After is kept to the second, and no absurd one is believed', async (t) => {
  const only = ['https://one.test/dir'];
  let fails = 1;
  const world = new World({
    directories: only,
    answer: (action, own) => (action.kind === 'create' && fails-- > 0 ? failure('limited', 7 * hour) : succeed(action, own)),
  });
  world.runUntil(start + day);
  t.equal(world.times('create')[1], 7 * hour);
  t.ok(world.log.length < 40, 'nobody asks in between');
  fails = 1;
  const absurd = new World({
    directories: only,
    answer: (action, own) => (action.kind === 'create' && fails-- > 0 ? failure('limited', 1_000 * day) : succeed(action, own)),
  });
  absurd.runUntil(start + 8 * day);
  t.equal(absurd.times('create').length, 2);
});

void t.test('a failed proof is retried ever later, never more often than the cap, and told', async (t) => {
  const world = new World({
    answer: (action, own) =>
      action.kind === 'authorize' && own.log.some((entry) => entry.action.kind === 'answer')
        ? { kind: 'authorizations', list: [{ name: 'a.example.com', status: 'failed', challenge: undefined, problem: 'no such host' }] }
        : succeed(action, own),
  });
  world.runUntil(start + hour);
  t.match(world.order.describe(world.now), { state: 'failed', reason: /a\.example\.com: no such host/, nextAction: 'order' });
  world.runUntil(start + 2 * day);
  for (const from of world.times('create')) {
    const within = world.log.filter(
      ({ action, at }) => action.kind === 'create' && action.authority === 0 && at - start >= from && at - start < from + hour,
    );
    t.ok(within.length <= FAILURES_PER_NAME, `${within.length} in an hour`);
  }
  t.ok(world.times('create').length < 20, `${world.times('create').length} tries in two days`);
});

void t.test('a renewal that fails leaves the certificate good, and then expired', async (t) => {
  const world = new World({
    answer: (action, own) => (action.kind === 'create' && own.now > start + day ? failure('unavailable') : succeed(action, own)),
  });
  world.runUntil(start + 80 * day);
  t.match(world.order.describe(world.now), { state: 'expiring', reason: /unavailable!/ });
  world.runUntil(start + 91 * day);
  t.equal(world.order.describe(world.now).state, 'expired');
});

void t.test('an order that never comes through is given up', async (t) => {
  const world = new World({
    directories: ['https://one.test/dir'],
    answer: (action, own) => (action.kind === 'look' ? { kind: 'order', order: { ...pending, status: 'processing' } } : succeed(action, own)),
  });
  world.runUntil(start + ORDER_MS + 20_000);
  t.match(world.order.describe(world.now), { state: 'failed', reason: /not through within/ });
  t.ok(world.times('look').length < 80, 'polled ever more slowly');
});

void t.test('a lease that another holds is waited for, and its certificate taken without an order', async (t) => {
  let asks = 0;
  const world = new World({
    answer: (action, own) => {
      if (action.kind !== 'lease') return succeed(action, own);
      asks++;
      if (asks < 5) return { kind: 'lease-held' };
      return { kind: 'certificate', validity: { notBefore: own.now, notAfter: own.now + 90 * day }, authority: 0, shared: true };
    },
  });
  world.runUntil(start + hour);
  t.equal(world.times('create').length, 0);
  t.equal(world.order.describe(world.now).state, 'valid');
});

void t.test('a control plane that is away: asked for a while, then decided alone, and said so', async (t) => {
  const away = (world: World): void => {
    world.answer = (action, own) => (action.kind === 'lease' ? { kind: 'lease-unavailable', reason: 'no route' } : succeed(action, own));
  };
  const first = new World();
  away(first);
  first.runUntil(start + hour);
  const [alone = 0] = first.times('create');
  t.ok(alone >= LEASE_PATIENCE_MS / 2 && alone < 3 * LEASE_PATIENCE_MS, `first certificate after ${alone} ms`);

  const renewing = new World();
  renewing.runUntil(start + day);
  away(renewing);
  renewing.runUntil(start + 70 * day);
  const [, renewed = 0] = renewing.times('create');
  const [, , due = 0] = [0, ...renewing.times('lease')];
  t.ok(renewed - due >= RENEWAL_PATIENCE_MS / 2, `renewal waits ${(renewed - due) / 60_000} min`);
  t.equal(renewing.order.describe(renewing.now).state, 'valid');
});

void t.test('an authority has caps of our own, which outlive a restart', async (t) => {
  const authorities = new Authorities(['https://one.test/dir']);
  for (let i = 0; i < ORDERS_PER_NAMES; i++) authorities.ordered(0, names, start + i);
  t.match(authorities.choose(names, start + 10, new Set()), { kind: 'wait', until: start + hour, reason: /orders an hour for one certificate/ });
  t.match(authorities.choose(['b.example.com'], start + 10, new Set()), { kind: 'ask' });
  for (let i = ORDERS_PER_NAMES; i < ORDERS_PER_HOUR; i++) authorities.ordered(0, [`${i}.example.com`], start + i);
  t.match(authorities.choose(['b.example.com'], start + 100, new Set()), { kind: 'wait', reason: /orders an hour at one\.test/ });
  const again = new Authorities(['https://one.test/dir'], new Map([['https://one.test/dir', authorities.standing(0)]]));
  t.match(again.choose(['b.example.com'], start + 100, new Set()), { kind: 'wait' });
  t.match(again.choose(['b.example.com'], start + 2 * hour, new Set()), { kind: 'ask' });
});
