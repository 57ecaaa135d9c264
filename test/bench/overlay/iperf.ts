// iperf3 over a subject that offers the kernel's sockets: the leanest application there is, so the figures flatter those subjects, not ours.
import { once } from 'node:events';
import type { ChildProcess } from 'node:child_process';
import type { Namespace } from './link.ts';

export interface IperfBulk {
  readonly bytes: number;
  readonly seconds: number;
  /** CPU seconds of iperf3 itself at the sending and the receiving end. */
  readonly sourceCpu: number;
  readonly sinkCpu: number;
}

export class Iperf {
  readonly #near: Namespace;
  readonly #server: ChildProcess;

  private constructor(near: Namespace, server: ChildProcess) {
    this.#near = near;
    this.#server = server;
  }

  static async start(near: Namespace, far: Namespace): Promise<Iperf> {
    const server = far.spawn(['iperf3', '-s', '--forceflush'], { stdio: ['ignore', 'pipe', 'ignore'] });
    await new Promise<void>((resolve, reject) => {
      server.stdout?.on('data', (part: Buffer) => part.toString().includes('listening') && resolve());
      server.once('exit', (code) => reject(new Error(`iperf3 -s ended with ${code}`)));
    });
    return new Iperf(near, server);
  }

  /** The far end sends. */
  async download(to: string, streams: number, seconds: number): Promise<IperfBulk> {
    const { end } = await this.#client(['-c', to, '-R', '-t', String(seconds), '-P', String(streams)]);
    const { bytes, seconds: took } = end.sum_received ?? {};
    const { host_total: sink, remote_total: source } = end.cpu_utilization_percent;
    if (bytes === undefined || took === undefined) throw new Error('iperf3 told no result');
    return { bytes, seconds: took, sourceCpu: (source / 100) * took, sinkCpu: (sink / 100) * took };
  }

  close(): void {
    this.#server.removeAllListeners('exit');
    this.#server.kill('SIGTERM');
  }

  async #client(args: readonly string[]): Promise<Report> {
    const child = this.#near.spawn(['iperf3', '-J', ...args], { stdio: ['ignore', 'pipe', 'inherit'], timeout: 60_000 });
    let out = '';
    child.stdout?.on('data', (part: Buffer) => (out += part.toString()));
    await once(child, 'close');
    const report = JSON.parse(out) as Report & { readonly error?: string };
    if (report.error !== undefined) throw new Error(`iperf3 ${args.join(' ')}: ${report.error}`);
    return report;
  }
}

interface Sum {
  readonly bytes: number;
  readonly seconds: number;
}

interface Report {
  readonly end: {
    readonly sum_received?: Sum;
    readonly cpu_utilization_percent: { readonly host_total: number; readonly remote_total: number };
  };
}
