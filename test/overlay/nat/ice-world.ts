// Two ICE agents in virtual time, and between them a network that loses, repeats and reorders, seeded; its NATs are a function.
import { decodeStun } from '#wire/stun.ts';
import { type Candidate, localCandidate } from '../../../src/overlay/path/ice-candidate.ts';
import { IceAgent, type IceState } from '../../../src/overlay/path/ice-agent.ts';
import type { RelayBase, TransportAddress } from '../../../src/overlay/path/path.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { seeded, seededBytes } from '../../support/seeded.ts';

export type Side = 'a' | 'b';
export const other = { a: 'b', b: 'a' } as const;
export const at = { a: { address: '10.0.0.1', port: 1 }, b: { address: '10.0.0.2', port: 2 } } as const;

/** How a datagram arrives: where it seems to come from, and by which relay of the receiver. */
export interface Arrival {
  readonly from: TransportAddress;
  readonly base?: RelayBase;
}

export type Route = (self: Side, to: TransportAddress, base: RelayBase | undefined, request: boolean) => Arrival | undefined;

/** Everybody reaches everybody at the announced address. */
export const open: Route = (self, to) => (to.address === at[other[self]].address ? { from: at[self] } : undefined);

export interface WorldOptions {
  readonly seed?: number;
  readonly loss?: number;
  readonly duplicate?: number;
  /** One-way delay: at least, and at most. */
  readonly delayMs?: readonly [number, number];
  /** Who begins as the controlling side; both or none make a conflict. */
  readonly controlling?: Readonly<Record<Side, boolean>>;
}

export class IceWorld {
  readonly clock = new ManualClock();
  readonly agents: Readonly<Record<Side, IceAgent>>;
  route: Route;
  loss: number;
  sent = 0;
  /** Each change of a state. */
  readonly states: { readonly side: Side; readonly state: IceState; readonly at: number }[] = [];
  readonly #options: WorldOptions;
  readonly #random: () => number;

  constructor(route: Route, options: WorldOptions = {}) {
    this.route = route;
    this.#options = options;
    this.loss = options.loss ?? 0;
    this.#random = seeded(options.seed ?? 1);
    this.agents = { a: this.#agent('a'), b: this.#agent('b') };
  }

  /** Announces a candidate to both, at once or after a while. */
  announce(side: Side, candidate: Candidate, afterMs = 0): void {
    const now = this.clock.now();
    this.agents[side].addLocal(candidate, now);
    const { base: _, ...told } = candidate;
    this.clock.after(afterMs, () => this.agents[other[side]].addRemote(told, this.clock.now()));
  }

  /** Both announce the address they have. */
  exchange(afterMs: readonly [number, number] = [0, 0]): void {
    for (const side of ['a', 'b'] as const) this.announce(side, localCandidate('host', at[side], 65_535), this.#between(afterMs));
  }

  run(ms: number, until: () => boolean = () => false): number {
    for (let passed = 0; passed < ms; passed += 5) {
      if (until()) return passed;
      this.clock.advance(5);
      for (const side of ['a', 'b'] as const) {
        const agent = this.agents[side];
        if (agent.pollAt() <= this.clock.now()) agent.poll(this.clock.now());
        const last = this.states.findLast((entry) => entry.side === side);
        if (last?.state !== agent.state) this.states.push({ side, state: agent.state, at: this.clock.now() });
      }
    }
    return ms;
  }

  get connected(): boolean {
    return this.agents.a.state === 'connected' && this.agents.b.state === 'connected';
  }

  #agent(side: Side): IceAgent {
    return new IceAgent(
      {
        controlling: this.#options.controlling?.[side] ?? side === 'a',
        local: { ufrag: `ufrag${side}`, pwd: `password-of-${side}` },
        remote: { ufrag: `ufrag${other[side]}`, pwd: `password-of-${other[side]}` },
        tag: 1,
        random: seededBytes((this.#options.seed ?? 1) * 2 + (side === 'a' ? 0 : 1)),
        send: (datagram, to, base) => this.#send(side, Buffer.from(datagram), { ...to }, base),
      },
      0,
    );
  }

  #send(side: Side, datagram: Buffer, to: TransportAddress, base: RelayBase | undefined): void {
    this.sent++;
    const arrival = this.route(side, to, base, decodeStun(datagram)?.class === 'request');
    if (arrival === undefined || this.#random() < this.loss) return;
    const copies = this.#random() < (this.#options.duplicate ?? 0) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      this.clock.after(this.#between(this.#options.delayMs ?? [10, 10]), () => {
        const message = decodeStun(datagram);
        if (message !== undefined) this.agents[other[side]].receive(message, { ...arrival.from, base: arrival.base }, this.clock.now());
      });
    }
  }

  #between([from, to]: readonly [number, number]): number {
    return from + this.#random() * (to - from);
  }
}

/** A relay in name only: agents tell their pairs by it. */
export function fakeBase(name: string): RelayBase {
  return {
    name,
    send: () => undefined,
    remote: () => {
      throw new TypeError('not in this world');
    },
    join: () => {
      throw new TypeError('not in this world');
    },
  };
}
