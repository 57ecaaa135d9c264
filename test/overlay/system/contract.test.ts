// The overlay's contract, the same for both ways to run a peer: our own stack in the process, and the kernel's behind a TUN device. Two
// peers in two namespaces, in every pairing; and the kernel behind Debian's wireguard-go at the far end.
import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { generatePrivateKey, keyToText, publicFromPrivate } from '#crypto/x25519.ts';
import type { NetworkMap, PacketFilter } from '#model/network-map.ts';
import { parsePublicKey, type PublicKey } from '#model/ids.ts';
import { whyNoNamespaces } from '../../support/namespaces.ts';
import { Net } from '../faults/net.ts';
import { prefix } from '../pair.ts';
import { PORT, type Tasks } from './contract-process.ts';

type Mode = 'userspace' | 'system';
const script = join(import.meta.dirname, 'contract-process.ts');
const missing = whyNoNamespaces() ?? (spawnSync('test', ['-w', '/dev/net/tun']).status === 0 ? undefined : 'needs /dev/net/tun');

class Peer {
  readonly privateKey = generatePrivateKey();
  readonly publicKey: PublicKey;
  readonly hostAddress: string;
  readonly v4: string;
  readonly v6: string;
  readonly child: ChildProcess;
  other: Peer | undefined;
  #id = 0;
  #serial = 1n;
  readonly #waiting = new Map<number, { resolve(answer: unknown): void; reject(error: Error): void }>();

  constructor(net: Net, name: string, number: number) {
    const key = parsePublicKey(keyToText(publicFromPrivate(this.privateKey)));
    if (key === undefined) throw new TypeError('key');
    this.publicKey = key;
    this.hostAddress = `10.61.${number}.2`;
    this.v4 = `100.92.0.${number}`;
    this.v6 = `fd00:92::${number}`;
    this.child = net.fork(name, script);
    this.child.on('message', (message: { id: number; answer: unknown; failure?: string } | { signal: unknown; to: string }) => {
      if ('signal' in message) {
        this.other?.child.send({ from: this.publicKey, signal: message.signal });
        return;
      }
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.failure === undefined) waiting?.resolve(message.answer);
      else waiting?.reject(new Error(message.failure));
    });
  }

  ask<Name extends keyof Tasks>(task: Name, request: Parameters<Tasks[Name]>[0]): ReturnType<Tasks[Name]>;
  ask(task: string, request: unknown): Promise<unknown> {
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.child.send({ id, task, request });
    });
  }

  map(filter: PacketFilter, alone = false): Promise<void> {
    const { other } = this;
    const map: NetworkMap = {
      serial: this.#serial++,
      self: { v4: prefix(`${this.v4}/16`), v6: prefix(`${this.v6}/64`), fqdn: 'self.test' },
      peers:
        other === undefined || alone
          ? []
          : [
              {
                publicKey: other.publicKey,
                allowedIps: [prefix(`${other.v4}/32`), prefix(`${other.v6}/128`)],
                fqdn: 'other.test',
                agentVersion: '0.70.0',
              },
            ],
      filter,
    };
    return this.ask('map', map);
  }
}

const open: PacketFilter = { kind: 'open' };
const allBut = (...ports: readonly number[]): PacketFilter => ({
  kind: 'rules',
  rules: Object.values(PORT)
    .filter((port) => !ports.includes(port))
    .map((port) => ({ direction: 'in', action: 'accept', protocol: 'tcp', peer: undefined, ports: { start: port, end: port } })),
});

async function start(t: Test, modes: readonly [Mode, Mode]): Promise<readonly [Peer, Peer]> {
  const net = new Net(t);
  net.host('a', [1]);
  net.host('b', [2]);
  const peers = [new Peer(net, 'a', 1), new Peer(net, 'b', 2)] as const;
  const [a, b] = peers;
  a.other = b;
  b.other = a;
  await Promise.all(
    peers.map((peer, i) =>
      peer.ask('open', { mode: modes[i] ?? 'userspace', privateKey: peer.privateKey, hostAddress: peer.hostAddress, listenPort: 0 }),
    ),
  );
  await Promise.all(peers.map((peer) => peer.map(open)));
  return peers;
}

for (const modes of [
  ['userspace', 'userspace'],
  ['userspace', 'system'],
  ['system', 'userspace'],
  ['system', 'system'],
] as const) {
  t.test(`${modes[0]} to ${modes[1]}`, async (t) => {
    if (missing !== undefined) {
      t.plan(0, missing);
      return;
    }
    const [a, b] = await start(t, modes);
    for (const [family, host] of [
      ['IPv4', b.v4],
      ['IPv6', b.v6],
    ] as const) {
      t.equal(await a.ask('echo', { host, bytes: 3_000_000 }), true, `${family}: what is sent comes back whole`);
      t.equal(await a.ask('halfClose', { host, bytes: 700_001 }), true, `${family}: one direction ends before the other`);
      t.equal(await a.ask('refusal', { host, port: PORT.unwanted }), 'ECONNREFUSED', `${family}: a port that nobody wants is refused`);
      t.equal(await a.ask('cutOff', { host }), 'ECONNRESET', `${family}: a destroyed stream does not look complete`);
    }
    t.equal(await a.ask('datagrams', { host: b.v4, count: 50, bytes: 1200 }), 50, 'datagrams of a usual size come back');
    t.equal(await a.ask('datagrams', { host: b.v6, count: 5, bytes: 4 }), 5, 'and small ones over IPv6');
    t.equal(await a.ask('datagrams', { host: b.v4, count: 10, bytes: 4000 }), 10, 'larger ones than a packet come back too');
    t.equal(await a.ask('datagrams', { host: b.v6, count: 10, bytes: 4000 }), 10, 'over IPv6 too');
    const local = { address: b.v4, port: PORT.who };
    t.same(JSON.parse(await a.ask('who', { host: b.v4 })), { local, remote: a.v4, peer: a.publicKey }, 'both ends are named as they are');
    t.equal(await a.ask('crowd', { host: b.v4, count: 100 }), 100, 'a hundred connections at once');
    t.equal(await b.ask('echo', { host: a.v4, bytes: 500_000 }), true, 'and the other way');
    t.equal(await a.ask('refusal', { host: '100.92.9.9', port: PORT.echo }), 'EHOSTUNREACH', 'an address of no peer');

    await a.ask('hold', { host: b.v4 });
    await b.map(allBut(PORT.who));
    t.equal(await a.ask('refusal', { host: b.v4, port: PORT.who }), 'ECONNREFUSED', 'what the policy does not admit is refused');
    t.equal(await a.ask('datagrams', { host: b.v4, count: 3, bytes: 100 }), 0, 'datagrams need a rule of their own');
    await b.map(allBut(PORT.echo));
    t.equal(await a.ask('held', undefined), 'ECONNRESET', 'an open connection ends with its permission');
    await b.map(open);
    await a.ask('hold', { host: b.v4 });
    await a.map(open, true);
    t.equal(await a.ask('held', undefined), 'EHOSTUNREACH', 'and with its peer');
    t.equal(await a.ask('refusal', { host: b.v4, port: PORT.echo }), 'EHOSTUNREACH');
    await a.map(open);
    t.equal(await a.ask('echo', { host: b.v4, bytes: 1000 }), true, 'which may come back');
    t.comment(`figure: ${modes.join(' to ')}: ${(await a.ask('download', { host: b.v4, seconds: 1 })).toFixed(2)} Gb/s`);
    await Promise.all([a.ask('close', undefined), b.ask('close', undefined)]);
  });
}

for (const mode of ['userspace', 'system'] as const) {
  t.test(`the kernel behind wireguard-go to ${mode}`, async (t) => {
    const why = missing ?? whyNoNamespaces('wireguard-go', 'wg');
    if (why !== undefined) {
      t.plan(0, why);
      return;
    }
    const net = new Net(t);
    net.host('a', [1]);
    net.host('b', [2]);
    const b = new Peer(net, 'b', 2);
    await b.ask('open', { mode, privateKey: b.privateKey, hostAddress: b.hostAddress, listenPort: 51_999 });
    const key = generatePrivateKey();
    const other = parsePublicKey(keyToText(publicFromPrivate(key)));
    if (other === undefined) throw new TypeError('key');
    await b.ask('map', {
      serial: 1n,
      self: { v4: prefix(`${b.v4}/16`), v6: undefined, fqdn: 'self.test' },
      peers: [{ publicKey: other, allowedIps: [prefix('100.92.0.1/32')], fqdn: 'go.test', agentVersion: '' }],
      filter: allBut(PORT.who),
    });
    const folder = mkdtempSync(join(tmpdir(), 'mg-contract-'));
    const keyFile = join(folder, 'key');
    writeFileSync(keyFile, keyToText(key), { mode: 0o600 });
    const device = `mgc${process.pid}${mode[0] ?? ''}`;
    net.in('a', `wireguard-go ${device} >/dev/null 2>&1`);
    t.teardown(() => net.in('a', `ip link del ${device}`));
    net.in(
      'a',
      `wg set ${device} private-key ${keyFile} peer ${b.publicKey} allowed-ips 100.92.0.2/32 endpoint ${b.hostAddress}:51999 && ` +
        `ip addr add 100.92.0.1/16 dev ${device} && ip link set ${device} mtu 1280 up`,
    );
    const near = net.fork('a', join(import.meta.dirname, 'kernel-client.ts'));
    t.teardown(() => void near.kill());
    const ask = async (port: number, bytes: number): Promise<unknown> => {
      near.send({ host: b.v4, port, bytes });
      const [answer] = (await once(near, 'message')) as [unknown];
      return answer;
    };
    t.equal(await ask(PORT.echo, 3_000_000), 'same', 'what is sent comes back whole');
    t.equal(await ask(PORT.unwanted, 1), 'ECONNREFUSED', 'a port that nobody wants is refused');
    t.equal(await ask(PORT.who, 1), 'ECONNREFUSED', 'what the policy does not admit is refused');
    t.equal(await ask(PORT.reset, 1), 'ECONNRESET', 'a destroyed stream does not look complete');
    await b.ask('close', undefined);
  });
}
