// Two overlays in two namespaces with data going through them, and the ways a test looks at it.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Test } from 'tap';
import { publicFromPrivate } from '#crypto/x25519.ts';
import { toBase64 } from '#lib/bytes.ts';
import { describeError } from '#lib/errors.ts';
import type { MeshEndpoints, NetworkMap } from '#model/network-map.ts';
import { parsePublicKey, type PublicKey } from '#model/ids.ts';
import { orderedKeys, prefix } from '../pair.ts';
import { type Net, routerAddress } from './net.ts';
import type { Answer, FromPeer, FromRelay, ToPeer, ToRelay } from './protocol.ts';

const folder = import.meta.dirname;

/** Every wait ends after this with the state of both peers, several times what the slowest of them takes. */
const waitLimitMs = 60_000;
/** A process answers a question at once, unless it is stopped; this is for a busy machine. */
const askLimitMs = 15_000;

/** One process with an overlay. */
export class RemotePeer {
  readonly publicKey: PublicKey;
  readonly address: string;
  readonly child: ChildProcess;
  readonly #privateKey: Uint8Array;
  readonly #waiting = new Map<FromPeer['kind'], { resolve(message: FromPeer): void; reject(error: Error): void }>();
  /** Tells the state of both peers, for the error of a wait that failed. */
  state: () => Promise<string> = () => Promise.resolve('');
  /** Where its signal messages go. */
  signal: (to: string, from: string, message: Extract<FromPeer, { kind: 'signal' }>['message']) => void = () => undefined;
  failure = '';

  constructor(net: Net, host: string, address: string, privateKey: Uint8Array) {
    const publicKey = parsePublicKey(toBase64(publicFromPrivate(privateKey)));
    if (publicKey === undefined) throw new TypeError('key');
    this.publicKey = publicKey;
    this.address = address;
    this.#privateKey = privateKey;
    this.child = net.fork(host, join(folder, 'peer-process.ts'));
    this.child.on('message', (message: FromPeer) => {
      if (message.kind === 'signal') return this.signal(message.to, this.publicKey, message.message);
      if (message.kind === 'failed') return this.#fail(message.reason);
      this.#waiting.get(message.kind)?.resolve(message);
    });
    this.child.once('exit', (code, signal) => this.#fail(`its process ended (${signal ?? code})`));
  }

  #fail(reason: string): void {
    this.failure = reason;
    for (const waiting of this.#waiting.values()) waiting.reject(new Error(`${this.address}: ${reason}`));
  }

  tell(message: ToPeer): void {
    this.child.send(message);
  }

  async open(forceRelay = false): Promise<void> {
    const ready = this.next('ready');
    this.tell({ kind: 'open', privateKey: this.#privateKey, forceRelay });
    await ready;
  }

  /** The next message of that kind; rejects where the process fails or takes too long, then with the state of both peers. */
  async next<K extends FromPeer['kind']>(kind: K, limitMs = waitLimitMs): Promise<Extract<FromPeer, { kind: K }>> {
    if (this.#waiting.has(kind)) throw new TypeError(`somebody waits for ${kind} already`);
    const { promise, resolve, reject } = Promise.withResolvers<FromPeer>();
    this.#waiting.set(kind, { resolve, reject });
    const timer = setTimeout(() => reject(new Error(`${this.address} did not say ‘${kind}’ within ${limitMs} ms`)), limitMs);
    try {
      return (await promise) as Extract<FromPeer, { kind: K }>;
    } catch (error) {
      if (kind === 'answer') throw error;
      throw new Error(`${(error as Error).message}\n${await this.state()}`, { cause: error });
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(kind);
    }
  }

  async ask(): Promise<Answer> {
    const answer = this.next('answer', askLimitMs);
    this.tell({ kind: 'ask' });
    return (await answer).answer;
  }

  /** Asks until it is so; resolves with the milliseconds it took. */
  async until(what: string, holds: (answer: Answer) => boolean, limitMs = waitLimitMs): Promise<number> {
    const begun = performance.now();
    for (;;) {
      if (holds(await this.ask())) return performance.now() - begun;
      if (performance.now() - begun > limitMs) throw new Error(`${this.address}: not within ${limitMs} ms: ${what}\n${await this.state()}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

export interface World {
  readonly net: Net;
  readonly a: RemotePeer;
  readonly b: RemotePeer;
  /** While it is down, signal messages are lost. */
  signalDown: boolean;
  /** The relay that was started last. */
  relay: ChildProcess;
  startRelay(): Promise<ChildProcess>;
}

/** What both peers say of themselves and of their connections, or why they say nothing. */
async function stateOf(peers: readonly RemotePeer[]): Promise<string> {
  const answers = await Promise.allSettled(peers.map((peer) => peer.ask()));
  const text = answers.map((result, i) => {
    const said = result.status === 'fulfilled' ? result.value : { error: describeError(result.reason) };
    return `${peers[i]?.address ?? ''} ${peers[i]?.failure ?? ''} ${JSON.stringify(said, undefined, 1)}`;
  });
  return text.join('\n');
}

/** Opens both peers at a relay and lets data go from the first to the second and back. `a` is the controller unless told otherwise. */
export async function startWorld(
  t: Test,
  net: Net,
  options: { readonly forceRelay?: boolean; readonly relays?: number; readonly aControls?: boolean } = {},
): Promise<World> {
  const [first, second] = orderedKeys();
  const [keyA, keyB] = options.aControls === false ? [second, first] : [first, second];
  const [a, b] = [new RemotePeer(net, 'a', '100.92.0.1', keyA), new RemotePeer(net, 'b', '100.92.0.2', keyB)];
  for (const peer of [a, b]) peer.state = () => stateOf([a, b]);
  let relayPort = 0;
  let endpoints: MeshEndpoints | undefined;
  const startRelay = async (): Promise<ChildProcess> => {
    const child = net.fork('r', join(folder, 'relay-process.ts'));
    const start: ToRelay = { kind: 'start', address: routerAddress, port: relayPort };
    child.send(start);
    const [started] = (await once(child, 'message', { signal: AbortSignal.timeout(waitLimitMs) })) as [FromRelay];
    relayPort = started.port;
    endpoints = started.endpoints;
    world.relay = child;
    return child;
  };
  const world: World = { net, a, b, signalDown: false, relay: a.child, startRelay };
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.signal = (_to, sender, message) => {
      if (!world.signalDown) to.tell({ kind: 'signal', from: sender, message });
    };
  }
  await startRelay();
  await Promise.all([a.open(options.forceRelay), b.open(options.forceRelay)]);
  for (const [self, other] of [
    [a, b],
    [b, a],
  ] as const) {
    if (endpoints !== undefined) self.tell({ kind: 'endpoints', endpoints });
    self.tell({ kind: 'map', map: mapOf(self, other) });
  }
  await Promise.all([a, b].map((peer) => peer.until('the relay is there', ({ relayConnected }) => relayConnected)));
  const flowing = a.next('flowing');
  a.tell({ kind: 'traffic', host: b.address });
  await flowing;
  if (options.forceRelay !== true) await a.until('a direct path', ({ peer }) => peer?.path?.kind === 'direct');
  t.comment('data flows');
  return world;
}

function mapOf(self: RemotePeer, other: RemotePeer): NetworkMap {
  return {
    serial: 1n,
    self: { v4: prefix(`${self.address}/16`), v6: undefined, fqdn: 'self.mesh.test' },
    peers: [{ publicKey: other.publicKey, allowedIps: [prefix(`${other.address}/32`)], fqdn: 'other.mesh.test', agentVersion: '0.70.0' }],
    filter: { kind: 'open' },
  };
}

/** Ends the data and proves that every byte came back as it went. */
export async function finish(t: Test, peer: RemotePeer): Promise<void> {
  const finished = peer.next('finished');
  peer.tell({ kind: 'finish' });
  const { sent, received, bytes } = await finished;
  t.equal(received, sent, `${(bytes / 1e6).toFixed(1)} MB came back with the same SHA-256`);
  t.equal(peer.failure, '');
}
