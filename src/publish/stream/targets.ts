// The targets of TCP, TLS and UDP services: which of them a connection goes to, and how each is. What is known of a target stays known while
// the service has it, and all of a service's ports share it.
import type { Duplex } from 'node:stream';
import type { Clock } from '#lib/clock.ts';
import { errorCode } from '#lib/errors.ts';
import { callerNetwork } from '#lib/ip.ts';
import { type Dial, type DialTarget, formatHostPort } from '#lib/net.ts';
import type { ServiceId } from '#model/ids.ts';
import type { ConnectCheck } from '#model/stream.ts';
import { writeProxyHeader } from '#wire/proxy-protocol.ts';
import { Balancer, type Member } from '../balance/balancer.ts';
import { hashText } from '../balance/hash.ts';
import { type CheckResult, HealthChecks } from '../balance/health-checks.ts';
import { TargetHealth } from '../balance/target-health.ts';
import { addressVisitor } from '../balance/visitor.ts';
import { CONNECT_CHECK_HOLD_MS } from '../constants.ts';
import type { AnyStreamService, StreamTable } from './services.ts';

/** One of a service's targets: where its listen port leads. */
export interface StreamTarget extends DialTarget {
  readonly weight: number;
  /** Its place among the targets of each of the service's ports. */
  readonly index: number;
}

export type StreamMember = Member<StreamTarget>;

export interface StreamTargetsDeps {
  readonly dial: Dial;
  readonly directDial: Dial;
  /** Whether there is a path to a host of the overlay now; left out, nobody knows. */
  readonly reachable?: ((host: string) => boolean) | undefined;
  readonly clock: Clock;
  readonly random: () => number;
}

interface Checked {
  readonly service: AnyStreamService;
  readonly target: StreamTarget;
  readonly health: TargetHealth;
  readonly check: ConnectCheck;
}

interface Known {
  readonly balancer: Balancer<StreamTarget>;
  /** Equal where the choice is the same. */
  readonly key: string;
}

export class StreamTargets {
  readonly #deps: StreamTargetsDeps;
  readonly #checks: HealthChecks<Checked>;
  #known: ReadonlyMap<ServiceId, Known> = new Map();

  constructor(deps: StreamTargetsDeps) {
    this.#deps = deps;
    this.#checks = new HealthChecks({
      ask: (subject, signal) => this.#ask(subject, signal),
      same: (a, b) =>
        JSON.stringify([a.check, a.service.direct, a.service.checkProxy]) === JSON.stringify([b.check, b.service.direct, b.service.checkProxy]),
      clock: deps.clock,
      random: deps.random,
    });
  }

  /** Takes a new table as the truth. */
  follow(table: StreamTable): void {
    const known = new Map<ServiceId, Known>();
    const checked = new Map<string, Checked>();
    for (const service of table.services()) {
      const old = this.#known.get(service.id);
      const now = this.#make(service, old);
      known.set(service.id, now);
      for (const { target, health } of now.balancer.members) {
        if (service.healthCheck === undefined) health.unchecked();
        else checked.set(`${service.id} ${formatHostPort(target.host, target.port)}`, { service, target, health, check: service.healthCheck });
      }
    }
    this.#known = known;
    this.#checks.follow(checked);
  }

  /** A target that is not among `tried`; undefined where all are, or the service is gone. */
  choose(service: AnyStreamService, address: string, tried: ReadonlySet<StreamMember> | undefined): StreamMember | undefined {
    const visitor = service.sticky ? addressVisitor(callerNetwork(address) ?? address) : undefined;
    return this.#known.get(service.id)?.balancer.choose(this.#deps.clock.now(), this.#deps.random, visitor, tried);
  }

  failed(service: AnyStreamService, member: StreamMember, reason: string): void {
    this.#known.get(service.id)?.balancer.failed(member, this.#deps.clock.now(), reason);
  }

  succeeded(member: StreamMember): void {
    member.health.succeeded(this.#deps.clock.now());
  }

  /** Targets of the service that get nothing new now, and why. */
  problems(service: ServiceId): readonly (DialTarget & { readonly problem: string })[] {
    const now = this.#deps.clock.now();
    return (this.#known.get(service)?.balancer.members ?? []).flatMap(({ target, health }) => {
      const problem = health.problem(now);
      return problem === '' ? [] : [{ host: target.host, port: target.port, problem }];
    });
  }

  close(): void {
    this.#checks.close();
  }

  #make(service: AnyStreamService, old: Known | undefined): Known {
    const { balancing, ejection, slowStartMs, shares, direct } = service;
    const key = JSON.stringify([balancing, ejection, slowStartMs, shares, direct]);
    if (old?.key === key) return old;
    const members = shares.map((share, index): StreamMember => {
      const before = old?.balancer.members.find(({ target }) => target.host === share.host && target.port === share.port);
      return {
        target: { ...share, index },
        health: before?.health ?? new TargetHealth(old === undefined ? undefined : this.#deps.clock.now()),
        // The same at every gateway of the cluster.
        hash: hashText(formatHostPort(share.host, share.port)),
        owed: before?.target.weight === share.weight ? before.owed : 0,
      };
    });
    const reachable = ({ host }: StreamTarget): boolean => direct || this.#deps.reachable === undefined || this.#deps.reachable(host);
    return { key, balancer: new Balancer(members, { balancing, ejection, slowStartMs }, reachable) };
  }

  /** Opens a connection and looks whether it stays: an agent accepts before it dials, and what it cannot reach it resets. */
  async #ask({ service, target }: Checked, signal: AbortSignal): Promise<CheckResult> {
    let stream: Duplex;
    try {
      stream = await (service.direct ? this.#deps.directDial : this.#deps.dial)({ host: target.host, port: target.port }, { signal });
    } catch (error) {
      const reason = signal.aborted ? (signal.reason as Error).message : (errorCode(error) ?? (error as Error).message);
      return { problem: `the check got ${reason}` };
    }
    const nobody = { address: '', port: 0 };
    if (service.checkProxy !== undefined) stream.write(writeProxyHeader(service.checkProxy, nobody, nobody));
    return await new Promise((resolve) => {
      const done = (problem: string | undefined): void => {
        timer.cancel();
        signal.removeEventListener('abort', aborted);
        stream.destroy();
        resolve({ problem });
      };
      const aborted = (): void => done(undefined);
      const timer = this.#deps.clock.after(CONNECT_CHECK_HOLD_MS, () => done(undefined));
      stream.on('error', (error) => done(`the connection of the check was broken: ${errorCode(error) ?? error.message}`));
      stream.on('close', () => done('the connection of the check was closed at once'));
      stream.on('end', () => done('the connection of the check was ended at once'));
      stream.on('data', () => done(undefined));
      signal.addEventListener('abort', aborted, { once: true });
    });
  }
}
