// A small network of namespaces: a router in the middle, hosts around it, each with one or two lines. All names hold the process id, so
// that two runs do not meet, and everything is removed with the test.
import { execFileSync, type ChildProcess, spawn } from 'node:child_process';
import type { Test } from 'tap';

/** Why this cannot run here, or undefined where it can. */
export function whyNoNamespaces(...programs: readonly string[]): string | undefined {
  if (process.platform !== 'linux') return 'needs Linux';
  if (process.getuid?.() !== 0) return 'needs root, for network namespaces';
  for (const program of ['ip', ...programs]) {
    try {
      execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    } catch {
      return `needs ${program}`;
    }
  }
  try {
    const probe = `mgprobe${process.pid}`;
    execFileSync('ip', ['netns', 'add', probe], { stdio: 'ignore' });
    execFileSync('ip', ['netns', 'del', probe], { stdio: 'ignore' });
  } catch {
    return 'needs network namespaces';
  }
  return undefined;
}

/** The router's own address, reached from everywhere: where relays listen. */
export const routerAddress = '10.61.0.1';

export class Net {
  readonly #prefix = `mgf${process.pid}-`;
  readonly #children = new Set<ChildProcess>();

  constructor(t: Test) {
    t.teardown(() => this.#remove());
    this.#ip('netns', 'add', this.#ns('r'));
    this.in('r', 'ip link set lo up');
    this.in('r', `ip addr add ${routerAddress}/32 dev lo`);
    this.in('r', 'sysctl -qw net.ipv4.ip_forward=1');
  }

  /** A host with a line to the router for each subnet: `ethN` at `10.61.SUBNET.2`, the router at `.1`. The first is its default route. */
  host(name: string, subnets: readonly number[]): void {
    this.#ip('netns', 'add', this.#ns(name));
    this.in(name, 'ip link set lo up');
    for (const [i, subnet] of subnets.entries()) {
      this.#ip('link', 'add', `eth${i}`, 'netns', this.#ns(name), 'type', 'veth', 'peer', 'name', `${name}${i}`, 'netns', this.#ns('r'));
      this.in('r', `ip addr add 10.61.${subnet}.1/24 dev ${name}${i}`);
      this.in('r', `ip link set ${name}${i} up`);
      this.in(name, `ip addr add 10.61.${subnet}.2/24 dev eth${i}`);
      this.in(name, `ip link set eth${i} up`);
      if (i === 0) this.in(name, `ip route add default via 10.61.${subnet}.1`);
    }
  }

  /** Runs a command line in the namespace. */
  in(name: string, command: string): void {
    this.#ip('netns', 'exec', this.#ns(name), 'sh', '-c', command);
  }

  /** Starts a script of ours in the namespace, with a channel to it. Ended with the test. */
  fork(name: string, script: string): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', this.#ns(name), process.execPath, script], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
    });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  #ns(name: string): string {
    return `${this.#prefix}${name}`;
  }

  #ip(...args: readonly string[]): void {
    execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  }

  async #remove(): Promise<void> {
    await Promise.all(
      Array.from(this.#children, (child) => {
        child.kill('SIGCONT');
        child.kill('SIGKILL');
        return new Promise((resolve) => child.once('exit', resolve));
      }),
    );
    const list = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' });
    for (const line of list.split('\n')) {
      const name = line.split(' ')[0] ?? '';
      if (name.startsWith(this.#prefix)) this.#ip('netns', 'del', name);
    }
  }
}
