// A small network of namespaces: a router in the middle, hosts around it, each with one or two lines. Removed with the test.
import { type ChildProcess, spawn } from 'node:child_process';
import type { Test } from 'tap';
import { Namespaces } from '../../support/namespaces.ts';

/** The router's own address, reached from everywhere: where relays listen. */
export const routerAddress = '10.61.0.1';

export class Net {
  readonly #namespaces = new Namespaces();
  readonly #names = new Map<string, string>();
  readonly #children = new Set<ChildProcess>();

  constructor(t: Test) {
    t.teardown(() => this.#remove());
    this.#names.set('r', this.#namespaces.add('r'));
    this.in('r', `ip addr add ${routerAddress}/32 dev lo; sysctl -qw net.ipv4.ip_forward=1`);
  }

  /** A host with a line to the router for each subnet: `ethN` at `10.61.SUBNET.2`, the router at `.1`. The first is its default route. */
  host(name: string, subnets: readonly number[]): void {
    this.#names.set(name, this.#namespaces.add(name));
    for (const [i, subnet] of subnets.entries()) {
      this.#namespaces.join({ namespace: this.#of(name), device: `eth${i}` }, { namespace: this.#of('r'), device: `${name}${i}` });
      this.in('r', `ip addr add 10.61.${subnet}.1/24 dev ${name}${i}; ip link set ${name}${i} up`);
      this.in(name, `ip addr add 10.61.${subnet}.2/24 dev eth${i}; ip link set eth${i} up`);
      if (i === 0) this.in(name, `ip route add default via 10.61.${subnet}.1`);
    }
  }

  /** Runs a command line in the namespace. */
  in(name: string, command: string): void {
    this.#namespaces.in(this.#of(name), command);
  }

  /** Starts a script of ours in the namespace, with a channel to it. Ended with the test. */
  fork(name: string, script: string): ChildProcess {
    const [program, ...before] = this.#namespaces.before(this.#of(name));
    const child = spawn(program, [...before, process.execPath, script], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
    });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  #of(name: string): string {
    const namespace = this.#names.get(name);
    if (namespace === undefined) throw new TypeError(`no host ${name}`);
    return namespace;
  }

  async #remove(): Promise<void> {
    await Promise.all(
      Array.from(this.#children, (child) => {
        child.kill('SIGKILL');
        return new Promise((resolve) => child.once('exit', resolve));
      }),
    );
    this.#namespaces.close();
  }
}
