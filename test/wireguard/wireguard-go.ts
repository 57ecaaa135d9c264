// Debian's wireguard-go as the other side: a namespace with its TUN device there, a UDP socket of ours on a veth address here, and packets
// through the tunnel in both directions: echo requests built by hand from our side, datagrams of the kernel from the other.
import { execFile, spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import { generatePrivateKey, keyToText, publicFromPrivate } from '#crypto/x25519.ts';
import { messageTypes } from '#wire/wireguard.ts';
import { createDevice } from '#wireguard/device.ts';
import type { DeviceOptions, WireGuardDevice } from '#wireguard/types.ts';
import { packet, prefix } from './pair.ts';

const run = promisify(execFile);

/** Why this machine cannot run the suite; empty where it can. */
function missing(): string {
  if (process.getuid?.() !== 0) return 'needs root (network namespaces, TUN)';
  for (const file of ['/usr/bin/wireguard-go', '/usr/bin/wg', '/usr/sbin/ip', '/dev/net/tun']) {
    try {
      accessSync(file, constants.F_OK);
    } catch {
      return `needs ${file} (Debian: wireguard-go, wireguard-tools, iproute2, a TUN device)`;
    }
  }
  return '';
}

export const reason = missing();

function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** An ICMP echo request (8) or reply (0) in an IPv4 packet with correct checksums. */
function echo(source: string, destination: string, type: 0 | 8, rest: Uint8Array): Uint8Array {
  const icmp = Buffer.concat([Buffer.from([type, 0, 0, 0]), rest]);
  icmp.writeUInt16BE(checksum(icmp), 2);
  const out = Buffer.from(packet(source, destination, icmp));
  out[9] = 1;
  out.writeUInt16BE(checksum(out.subarray(0, 20)), 10);
  return out;
}

/** A namespace with wireguard-go in it, and our engine outside. */
export class Bench {
  readonly #name: string;
  readonly #number: number;
  readonly #undo: (() => unknown)[] = [];
  readonly #privateKey = generatePrivateKey();
  readonly theirPrivate = generatePrivateKey();
  readonly ours = keyToText(publicFromPrivate(this.#privateKey));
  readonly theirs = keyToText(publicFromPrivate(this.theirPrivate));
  readonly completed: number[] = [];
  /** Message types of the datagrams that came and went, in order. */
  readonly received: number[] = [];
  readonly sent: number[] = [];
  /** Our last initiation. */
  initiation: Uint8Array = new Uint8Array(0);
  readonly #options: Partial<DeviceOptions>;
  #waiting: ((bytes: Uint8Array) => void) | undefined;
  #skewMs = 0;
  #socket: Socket | undefined;
  #remotePort = 51_820;
  #timer: NodeJS.Timeout | undefined;
  #device: WireGuardDevice | undefined;

  constructor(number: number, options: Partial<DeviceOptions>) {
    this.#number = number;
    this.#options = options;
    this.#name = `mg${process.pid}x${number}`;
  }

  get device(): WireGuardDevice {
    if (this.#device === undefined) throw new TypeError('not started');
    return this.#device;
  }

  get inner(): { readonly ours: string; readonly theirs: string } {
    return { ours: '10.99.0.1', theirs: '10.99.0.2' };
  }

  get outer(): { readonly ours: string; readonly theirs: string } {
    const third = ((process.pid % 100) * 2 + this.#number) % 250;
    return { ours: `198.18.${third}.1`, theirs: `198.18.${third}.2` };
  }

  now(): number {
    return performance.now() + this.#skewMs;
  }

  /** Makes our clock jump, as if the session had become old on our side only. */
  skew(ms: number): void {
    this.#skewMs += ms;
  }

  async start(presharedKey: Uint8Array | undefined, endpoint: boolean): Promise<void> {
    const name = this.#name;
    const folder = mkdtempSync(join(tmpdir(), 'meshgate-wg-'));
    this.#undo.push(() => rmSync(folder, { recursive: true, force: true }));
    await run('ip', ['netns', 'add', name]);
    this.#undo.push(() => run('ip', ['netns', 'delete', name]));
    await run('ip', ['link', 'add', `${name}h`, 'type', 'veth', 'peer', 'name', `${name}n`, 'netns', name]);
    this.#undo.push(() => run('ip', ['link', 'delete', `${name}h`]).catch(() => undefined));
    await run('ip', ['address', 'add', `${this.outer.ours}/30`, 'dev', `${name}h`]);
    await run('ip', ['link', 'set', `${name}h`, 'up']);
    await this.inside('ip', 'address', 'add', `${this.outer.theirs}/30`, 'dev', `${name}n`);
    await this.inside('ip', 'link', 'set', `${name}n`, 'up');
    await this.inside('ip', 'link', 'set', 'lo', 'up');

    const child = spawn('ip', ['netns', 'exec', name, 'wireguard-go', '--foreground', `${name}w`], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LOG_LEVEL: 'verbose' },
    });
    const ended = once(child, 'exit');
    this.#undo.push(async () => {
      child.kill('SIGTERM');
      await ended;
    });
    await new Promise<void>((resolve, reject) => {
      let text = '';
      const read = (chunk: Buffer): void => {
        text += chunk.toString();
        if (text.includes('UAPI listener started')) resolve();
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      child.once('exit', () => reject(new Error(`wireguard-go ended: ${text}`)));
    });

    const socket = await this.#open();
    const lines = ['[Interface]', `PrivateKey = ${keyToText(this.theirPrivate)}`, 'ListenPort = 51820', '[Peer]', `PublicKey = ${this.ours}`];
    lines.push(`AllowedIPs = ${this.inner.ours}/32`);
    if (presharedKey !== undefined) lines.push(`PresharedKey = ${keyToText(presharedKey)}`);
    if (endpoint) lines.push(`Endpoint = ${this.outer.ours}:${socket.address().port}`);
    writeFileSync(join(folder, 'conf'), `${lines.join('\n')}\n`, { mode: 0o600 });
    await this.inside('wg', 'setconf', `${name}w`, join(folder, 'conf'));
    await this.inside('ip', 'address', 'add', `${this.inner.theirs}/24`, 'dev', `${name}w`);
    await this.inside('ip', 'link', 'set', `${name}w`, 'up');

    const device = createDevice(
      { privateKey: this.#privateKey, random: (target) => void randomFillSync(target), wall: () => Date.now() + this.#skewMs, ...this.#options },
      {
        sendDatagram: (_peer, datagram, reply) => {
          this.sent.push(datagram[0] ?? 0);
          if (datagram[0] === messageTypes.initiation) this.initiation = datagram.slice();
          this.#socket?.send(Buffer.from(datagram), typeof reply === 'number' ? reply : this.#remotePort, this.outer.theirs);
        },
        deliverPacket: (_peer, bytes) => this.#deliver(bytes.slice()),
        authenticated: (_peer, source) => {
          if (typeof source === 'number') this.#remotePort = source;
        },
        handshake: (_peer, completed, at) => completed && this.completed.push(at),
      },
    );
    this.#device = device;
    device.setPeer(
      {
        publicKey: this.theirs,
        allowedIps: [prefix(`${this.inner.theirs}/32`)],
        persistentKeepaliveMs: 0,
        ...(presharedKey === undefined ? {} : { presharedKey }),
      },
      this.now(),
    );
  }

  /** Goes on from another port of ours: the old socket is closed. */
  async move(): Promise<void> {
    const before = this.#socket;
    await this.#open();
    before?.close();
  }

  /** Makes the other side go on from another port. */
  async moveTheirs(port: number): Promise<void> {
    await this.inside('wg', 'set', `${this.#name}w`, 'listen-port', String(port));
  }

  /** Sends a datagram to the other side as it is, past the engine. */
  inject(datagram: Uint8Array): void {
    this.#socket?.send(datagram, this.#remotePort, this.outer.theirs);
  }

  get ourPort(): number {
    return this.#socket?.address().port ?? 0;
  }

  get remotePort(): number {
    return this.#remotePort;
  }

  async #open(): Promise<Socket> {
    const socket = createSocket('udp4');
    this.#socket = socket;
    socket.bind(0, this.outer.ours);
    await once(socket, 'listening');
    socket.on('message', (bytes, remote) => {
      this.received.push(bytes[0] ?? 0);
      this.device.receiveDatagram(bytes, remote.port, this.now());
      this.schedule();
    });
    return socket;
  }

  /** Polls the engine when it wants to be. */
  schedule(): void {
    clearTimeout(this.#timer);
    const at = this.device.pollAt();
    if (at === Infinity) return;
    this.#timer = setTimeout(
      () => {
        this.device.poll(this.now());
        this.schedule();
      },
      Math.max(0, at - this.now()),
    );
    this.#timer.unref();
  }

  /** Sends an echo request into the tunnel and resolves with the reply's payload. */
  async ping(payload: Uint8Array): Promise<Uint8Array> {
    const reply = new Promise<Uint8Array>((resolve) => {
      this.#waiting = resolve;
    });
    this.device.sendPacket(echo(this.inner.ours, this.inner.theirs, 8, payload), this.now());
    this.schedule();
    return (await reply).subarray(24);
  }

  /** As `ping`, for a way that may lose packets: false where no answer came in time. */
  async pingIn(payload: Uint8Array, ms: number): Promise<boolean> {
    const stop = new AbortController();
    const late = pause(ms, false, { signal: stop.signal }).catch(() => false);
    const answered = await Promise.race([this.ping(payload).then(() => true), late]);
    stop.abort();
    return answered;
  }

  /** Runs a command in the namespace and returns what it prints. */
  async inside(...command: readonly string[]): Promise<string> {
    return (await run('ip', ['netns', 'exec', this.#name, ...command])).stdout;
  }

  /** A process in the namespace sends datagrams through its kernel and the tunnel, each when the last was answered; says how many were. */
  askFromInside(count: number): Promise<string> {
    const script = `
      const socket = require('node:dgram').createSocket('udp4');
      let answered = 0;
      const ask = () => socket.send('question ' + answered, 7, '${this.inner.ours}');
      socket.on('message', (text) => {
        if (text.toString() !== 'question ' + answered) process.exit(1);
        if (++answered < ${count}) return ask();
        process.stdout.write(String(answered));
        socket.close();
      });
      ask();`;
    return this.inside(process.execPath, '-e', script);
  }

  /** A process in the namespace sends a datagram again and again to our port; says how often. */
  floodFromInside(datagram: Uint8Array, perSecond: number, ms: number): Promise<string> {
    const script = `
      const socket = require('node:dgram').createSocket('udp4');
      const bytes = Buffer.from('${Buffer.from(datagram).toString('hex')}', 'hex');
      const began = performance.now();
      let sent = 0;
      const timer = setInterval(() => {
        const at = performance.now() - began;
        while (sent < at * ${perSecond / 1_000}) { socket.send(bytes, ${this.ourPort}, '${this.outer.ours}'); sent++; }
        if (at < ${ms}) return;
        clearInterval(timer);
        process.stdout.write(String(sent));
        socket.close();
      }, 2);`;
    return this.inside(process.execPath, '-e', script);
  }

  async latestHandshake(): Promise<number> {
    return Number((await this.inside('wg', 'show', `${this.#name}w`, 'latest-handshakes')).trim().split('\t')[1]);
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#socket?.close();
    let failure: unknown;
    for (const undo of this.#undo.toReversed()) {
      try {
        await undo();
      } catch (error) {
        failure ??= error; // the rest is undone all the same
      }
    }
    if (failure !== undefined) throw failure;
  }

  /** Hands echo replies to `ping`, and sends datagrams back to where they came from. */
  #deliver(bytes: Uint8Array): void {
    if (bytes[9] === 1 && bytes[20] === 0) return this.#waiting?.(bytes);
    if (bytes[9] !== 17) return;
    const back = bytes.slice();
    back.set(bytes.subarray(12, 16), 16);
    back.set(bytes.subarray(16, 20), 12);
    back.set(bytes.subarray(20, 22), 22);
    back.set(bytes.subarray(22, 24), 20); // sums do not mind the order, so both checksums stay right
    this.device.sendPacket(back, this.now());
  }
}

/** Runs `body` with a bench of its own; numbers keep the benches of one process apart. */
export async function withBench(
  t: Test,
  number: number,
  presharedKey: Uint8Array | undefined,
  endpoint: boolean,
  body: (bench: Bench) => Promise<void>,
  options: Partial<DeviceOptions> = {},
): Promise<void> {
  const bench = new Bench(number, options);
  t.teardown(() => bench.stop());
  await bench.start(presharedKey, endpoint);
  await body(bench);
}
