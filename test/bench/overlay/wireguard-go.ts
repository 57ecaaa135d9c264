// The peers: the newest wireguard-go that the module proxy gives, built into a cache outside the tree, and Debian's of 2022.
import { type ChildProcess, execFile, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { generatePrivateKey, keyToText, publicFromPrivate } from '#crypto/x25519.ts';
import { hasProgram } from '../../support/namespaces.ts';
import { cacheFolder, type Link, type Namespace } from './link.ts';

const run = promisify(execFile);
const modulePath = 'golang.zx2c4.com/wireguard';

export type Found =
  | { readonly kind: 'found'; readonly program: string; readonly version: string }
  | { readonly kind: 'missing'; readonly reason: string };

/** Builds the newest with the Go toolchain at hand; where the proxy cannot be asked, an earlier build serves. */
export async function newestWireGuardGo(): Promise<Found> {
  if (!hasProgram('wg')) return { kind: 'missing', reason: 'needs wg (Debian: wireguard-tools)' };
  if (!hasProgram('go')) return { kind: 'missing', reason: 'needs a Go toolchain to build the newest wireguard-go' };
  const program = join(cacheFolder, 'wireguard');
  await mkdir(cacheFolder, { recursive: true });
  const problem = await run('go', ['install', `${modulePath}@latest`], { env: { ...process.env, GOBIN: cacheFolder }, timeout: 180_000 }).then(
    () => undefined,
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
  if (!existsSync(program)) return { kind: 'missing', reason: `go install ${modulePath}@latest: ${problem?.split('\n')[1] ?? 'failed'}` };
  const { stdout } = await run('go', ['version', '-m', program]);
  const version =
    stdout
      .split('\n')
      .find((line) => line.startsWith(`\tmod\t${modulePath}`))
      ?.split('\t')[3] ?? 'unknown';
  const go = /: (go\S+)/.exec(stdout)?.[1] ?? '';
  return { kind: 'found', program, version: `${version}, ${go}${problem === undefined ? '' : ', built earlier: the proxy could not be asked'}` };
}

export function debianWireGuardGo(): Found {
  const program = '/usr/bin/wireguard-go';
  if (!existsSync(program) || !hasProgram('wg')) {
    return { kind: 'missing', reason: 'needs wireguard-go and wg (Debian: wireguard-go, wireguard-tools)' };
  }
  const { stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return { kind: 'found', program, version: stdout.split('\n')[0]?.replace('wireguard-go ', '') ?? '' };
}

/** A tunnel of two wireguard-go processes over the link. */
export interface GoTunnel {
  readonly nearPid: number;
  readonly farPid: number;
  /** In the tunnel. */
  readonly nearAddress: string;
  readonly farAddress: string;
  close(): Promise<void>;
}

/** `number` (1–200) tells tunnels of one link apart: their names, ports and addresses. */
export async function startGoTunnel(link: Link, program: string, number: number, mtu: number): Promise<GoTunnel> {
  const port = 51_000 + number;
  const keys = { near: generatePrivateKey(), far: generatePrivateKey() };
  const addresses = { near: `10.90.${number}.1`, far: `10.90.${number}.2` };
  const children: ChildProcess[] = [];
  const close = async (): Promise<void> => {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, 'exit');
      // It removes its control socket then.
      child.kill('SIGTERM');
      await ended;
    }
  };
  const folder = await mkdtemp(join(tmpdir(), 'mg-wg-'));
  const startEnd = async (self: Namespace, own: 'near' | 'far', other: 'near' | 'far', endpoint: string): Promise<number> => {
    // The control sockets of all namespaces lie in one folder.
    const device = `${self.name}${number}`;
    const child = self.spawn([program, '--foreground', device], { stdio: 'ignore' });
    children.push(child);
    await interfaceUp(self, device);
    const keyFile = join(folder, own);
    await writeFile(keyFile, `${keyToText(keys[own])}\n`, { mode: 0o600 });
    const set = ['wg', 'set', device, 'listen-port', String(port), 'private-key', keyFile];
    const peer = ['peer', keyToText(publicFromPrivate(keys[other])), 'allowed-ips', `${addresses[other]}/32`, 'endpoint', `${endpoint}:${port}`];
    await self.run([...set, ...peer]);
    await self.run(['ip', 'address', 'add', `${addresses[own]}/24`, 'dev', device]);
    await self.run(['ip', 'link', 'set', device, 'mtu', String(mtu), 'up']);
    return child.pid ?? 0;
  };
  try {
    const nearPid = await startEnd(link.near, 'near', 'far', link.far.address);
    const farPid = await startEnd(link.far, 'far', 'near', link.near.address);
    return { nearPid, farPid, nearAddress: addresses.near, farAddress: addresses.far, close };
  } catch (error) {
    await close();
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** wireguard-go says nothing at its default level: its control socket is what is waited for, through `wg`. */
async function interfaceUp(self: Namespace, device: string): Promise<void> {
  const until = performance.now() + 10_000;
  for (;;) {
    const there = await self.run(['wg', 'show', device]).then(
      () => true,
      () => false,
    );
    if (there) return;
    if (performance.now() > until) throw new Error(`wireguard-go did not open ${device}`);
    await new Promise((done) => {
      setTimeout(done, 50);
    });
  }
}
