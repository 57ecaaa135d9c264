// Our engine against Debian's wireguard-go: a namespace with a TUN device there, a UDP socket on a veth address here, and packets
// through the tunnel in both directions: echo requests built by hand from our side, datagrams of the kernel from the other.
import { execFile, spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { generatePrivateKey, keyToText, publicFromPrivate } from '#crypto/x25519.ts';
import { createDevice } from '#wireguard/device.ts';
import type { WireGuardDevice } from '#wireguard/types.ts';
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

const reason = missing();

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
class Bench {
  readonly #name: string;
  readonly #number: number;
  readonly #undo: (() => unknown)[] = [];
  readonly #privateKey = generatePrivateKey();
  readonly theirPrivate = generatePrivateKey();
  readonly ours = keyToText(publicFromPrivate(this.#privateKey));
  readonly theirs = keyToText(publicFromPrivate(this.theirPrivate));
  readonly completed: number[] = [];
  #waiting: ((bytes: Uint8Array) => void) | undefined;
  #skewMs = 0;
  #socket: Socket | undefined;
  #remotePort = 51_820;
  #timer: NodeJS.Timeout | undefined;
  #device: WireGuardDevice | undefined;

  constructor(number: number) {
    this.#number = number;
    this.#name = `mg${process.pid}x${number}`;
  }

  get device(): WireGuardDevice {
    if (this.#device === undefined) throw new TypeError('not started');
    return this.#device;
  }

  get inner(): { readonly ours: string; readonly theirs: string } {
    return { ours: '10.99.0.1', theirs: '10.99.0.2' };
  }

  get #outer(): { readonly ours: string; readonly theirs: string } {
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
    await run('ip', ['address', 'add', `${this.#outer.ours}/30`, 'dev', `${name}h`]);
    await run('ip', ['link', 'set', `${name}h`, 'up']);
    await this.inside('ip', 'address', 'add', `${this.#outer.theirs}/30`, 'dev', `${name}n`);
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
    if (endpoint) lines.push(`Endpoint = ${this.#outer.ours}:${socket.address().port}`);
    writeFileSync(join(folder, 'conf'), `${lines.join('\n')}\n`, { mode: 0o600 });
    await this.inside('wg', 'setconf', `${name}w`, join(folder, 'conf'));
    await this.inside('ip', 'address', 'add', `${this.inner.theirs}/24`, 'dev', `${name}w`);
    await this.inside('ip', 'link', 'set', `${name}w`, 'up');

    const device = createDevice(
      { privateKey: this.#privateKey, random: (target) => void randomFillSync(target), wall: () => Date.now() + this.#skewMs },
      {
        sendDatagram: (_peer, datagram) => this.#socket?.send(Buffer.from(datagram), this.#remotePort, this.#outer.theirs),
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

  get remotePort(): number {
    return this.#remotePort;
  }

  async #open(): Promise<Socket> {
    const socket = createSocket('udp4');
    this.#socket = socket;
    socket.bind(0, this.#outer.ours);
    await once(socket, 'listening');
    socket.on('message', (bytes, remote) => {
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

async function withBench(
  t: Test,
  number: number,
  presharedKey: Uint8Array | undefined,
  endpoint: boolean,
  body: (bench: Bench) => Promise<void>,
): Promise<void> {
  const bench = new Bench(number);
  t.teardown(() => bench.stop());
  await bench.start(presharedKey, endpoint);
  await body(bench);
}

void t.test('wireguard-go', { skip: reason === '' ? false : reason, timeout: 60_000 }, async (t) => {
  void t.test('answers our handshake; pings go both ways; new keys take over without a loss', async (t) => {
    await withBench(t, 0, undefined, false, async (bench) => {
      for (const size of [8, 9, 100, 1272]) {
        const payload = randomFillSync(new Uint8Array(size));
        t.same(Buffer.from(await bench.ping(payload)), Buffer.from(payload), `${size} bytes`);
      }
      t.equal(bench.completed.length, 1);
      t.equal(await bench.askFromInside(5), '5');
      bench.skew(121_000); // our side finds its session too old and renews it; the other side takes part
      for (let i = 0; i < 20; i++) await bench.ping(randomFillSync(new Uint8Array(64)));
      t.equal(bench.completed.length, 2, 'a second handshake');
      t.equal(await bench.askFromInside(5), '5');
      bench.skew(200_000); // our keys are past use: the next packet waits for new ones
      t.equal((await bench.ping(randomFillSync(new Uint8Array(64)))).length, 64);
      t.equal(bench.completed.length, 3);
    });
  });

  void t.test('begins the handshake, with a preshared key', async (t) => {
    const presharedKey = randomFillSync(new Uint8Array(32));
    await withBench(t, 1, presharedKey, true, async (bench) => {
      t.equal(await bench.askFromInside(5), '5');
      t.equal(bench.completed.length, 1);
      t.ok((await bench.latestHandshake()) > 0);
      t.equal((await bench.ping(randomFillSync(new Uint8Array(1000)))).length, 1000);
    });
  });

  void t.test('either side may move to another port without a new handshake', async (t) => {
    await withBench(t, 2, undefined, false, async (bench) => {
      await bench.ping(randomFillSync(new Uint8Array(64)));
      await bench.move();
      await bench.ping(randomFillSync(new Uint8Array(64))); // shows them our new place
      t.equal(await bench.askFromInside(3), '3', 'they send to our new port');
      await bench.moveTheirs(51_999);
      t.equal(await bench.askFromInside(3), '3');
      t.equal(bench.remotePort, 51_999);
      await bench.ping(randomFillSync(new Uint8Array(64)));
      t.equal(bench.completed.length, 1);
    });
  });
});
