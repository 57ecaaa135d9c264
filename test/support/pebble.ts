// Pebble, the ACME test authority, with its own DNS: names resolve to 127.0.0.1, and validation goes to the ports that a test says.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer, type AddressInfo } from 'node:net';
import { Agent, request } from 'undici';
import { once } from 'node:events';
import type { Test } from 'tap';
import { createTestCa } from './test-ca.ts';

/** Why the suites against Pebble cannot run here; false where they can. */
export const withoutPebble = ['pebble', 'pebble-challtestsrv'].every((program) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0)
  ? false
  : 'pebble is not installed';

export interface Pebble {
  readonly directory: string;
  /** The root of the directory's own TLS. */
  readonly ca: string;
  readonly httpPort: number;
  readonly tlsPort: number;
  /** The root of what it issues. */
  root(): Promise<string>;
  /** Ends it as a crash would; `start` brings it back without its memory, at the same address. */
  kill(): Promise<void>;
  start(): Promise<void>;
}

export interface PebbleOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly binding?: { readonly keyId: string; readonly hmacKey: string };
  /** `host:port` of the DNS server that it asks; a server of its own that answers 127.0.0.1 unless told. */
  readonly dns?: string;
}

export async function startPebble(t: Test, options: PebbleOptions = {}): Promise<Pebble> {
  const folder = await mkdtemp(join(tmpdir(), 'pebble-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const ca = await createTestCa();
  const own = await ca.issue(['localhost', '127.0.0.1']);
  const [port, adminPort, httpPort, tlsPort, dnsPort] = await freePorts();
  await writeFile(join(folder, 'cert.pem'), own.certPem);
  await writeFile(join(folder, 'key.pem'), own.keyPem);
  const pebble = {
    listenAddress: `127.0.0.1:${port}`,
    managementListenAddress: `127.0.0.1:${adminPort}`,
    certificate: join(folder, 'cert.pem'),
    privateKey: join(folder, 'key.pem'),
    httpPort,
    tlsPort,
    ocspResponderURL: '',
    externalAccountBindingRequired: options.binding !== undefined,
    ...(options.binding === undefined ? {} : { externalAccountMACKeys: { [options.binding.keyId]: options.binding.hmacKey } }),
  };
  await writeFile(join(folder, 'config.json'), JSON.stringify({ pebble }));
  if (options.dns === undefined) {
    const dns = ['-dns01', `127.0.0.1:${dnsPort}`, '-management', '127.0.0.1:0', '-http01', '', '-https01', '', '-tlsalpn01', '', '-defaultIPv6', ''];
    run(t, 'pebble-challtestsrv', dns, {});
  }
  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    const args = ['-config', join(folder, 'config.json'), '-dnsserver', options.dns ?? `127.0.0.1:${dnsPort}`];
    child = run(t, 'pebble', args, { PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: '0', PEBBLE_AUTHZREUSE: '0', ...options.env });
    await accepts(port);
    await accepts(adminPort);
  };
  await start();
  return {
    directory: `https://127.0.0.1:${port}/dir`,
    ca: ca.caPem,
    httpPort,
    tlsPort,
    async root() {
      const dispatcher = new Agent({ connect: { ca: ca.caPem } });
      const answer = await request(`https://127.0.0.1:${adminPort}/roots/0`, { dispatcher });
      const text = await answer.body.text();
      await dispatcher.close();
      return text;
    },
    async kill() {
      if (child === undefined) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
    start,
  };
}

function run(t: Test, program: string, args: readonly string[], env: Readonly<Record<string, string>>): ChildProcess {
  const child = spawn(program, args, { stdio: 'ignore', env: { ...process.env, ...env } });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

/** Ports that were free a moment ago. */
async function freePorts(): Promise<readonly [number, number, number, number, number]> {
  const servers = Array.from({ length: 5 }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports as unknown as readonly [number, number, number, number, number];
}

async function accepts(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const there = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (there) return;
    await new Promise((resolve) => {
      setTimeout(resolve, 25);
    });
  }
  throw new Error(`nothing listens on ${port}`);
}
