// Two overlays in one process: a signal that hands messages over in memory, real UDP on loopback, a network map for each.
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { generatePrivateKey, publicFromPrivate } from '#crypto/x25519.ts';
import { toBase64 } from '#lib/bytes.ts';
import { type Clock, systemClock } from '#lib/clock.ts';
import { parsePrefix, type IpPrefix } from '#lib/ip.ts';
import { silentLogger } from '#lib/log.ts';
import { type PublicKey, parsePublicKey } from '#model/ids.ts';
import type { MeshEndpoints, NetworkMap, PacketFilter } from '#model/network-map.ts';
import type { SignalMessage } from '#model/signal.ts';
import { createOverlay, type Overlay, type OverlayOptions, type SignalPort } from '#overlay/index.ts';
import { openDatagramPort } from '#overlay/udp/open.ts';
import type { OpenDatagramPort } from '#overlay/udp/port.ts';
import { createRelayServer, type RelayServer, relayWebSocketOptions } from '#server/relay/index.ts';

export function prefix(text: string): IpPrefix {
  const parsed = parsePrefix(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
}

/** Delivers signal messages between the overlays of a test, in order, in later turns. */
export class TestSignal {
  readonly #receivers = new Map<string, (from: PublicKey, message: SignalMessage) => void>();
  /** Everything that was sent, for tests that look. */
  readonly log: { readonly from: string; readonly message: SignalMessage }[] = [];
  readonly #connected = new Set<() => void>();
  /** While it is down, every message is lost. */
  down = false;

  port(self: PublicKey): SignalPort {
    return {
      send: (to, message) => {
        this.log.push({ from: self, message });
        setImmediate(() => {
          if (!this.down) this.#receivers.get(to)?.(self, message);
        });
      },
      receive: (handler) => this.#receivers.set(self, handler),
      onConnected: (handler) => this.#connected.add(handler),
      connected: () => !this.down,
    };
  }

  /** The streams of all members come up again. */
  reconnect(): void {
    this.down = false;
    for (const handler of this.#connected) handler();
  }
}

/** A UDP port that loses everything while `blocked`. */
export class BlockablePort {
  blocked = false;
  readonly open: OpenDatagramPort = async (port, events, log) => {
    const inner = await openDatagramPort(
      port,
      {
        receive: (run, size, address, from) => {
          if (!this.blocked) events.receive(run, size, address, from);
        },
        drained: () => events.drained(),
      },
      log,
    );
    return {
      port: inner.port,
      ipv6: inner.ipv6,
      accelerator: inner.accelerator,
      send: (datagram, to) => {
        if (!this.blocked) inner.send(datagram, to);
      },
      sendRun: (run, size, to) => {
        if (!this.blocked) inner.sendRun(run, size, to);
      },
      close: () => inner.close(),
    };
  };
}

export interface Member {
  readonly name: string;
  readonly address: string;
  readonly publicKey: PublicKey;
  readonly overlay: Overlay;
  readonly port: BlockablePort;
}

let nextAddress = 1;

export async function member(signal: TestSignal, name: string, options: Partial<OverlayOptions> = {}, clock: Clock = systemClock): Promise<Member> {
  const privateKey = options.privateKey ?? generatePrivateKey();
  const publicKey = parsePublicKey(toBase64(publicFromPrivate(privateKey)));
  if (publicKey === undefined) throw new TypeError('no key');
  const port = new BlockablePort();
  const overlay = await createOverlay(
    { signal: signal.port(publicKey), log: silentLogger, clock },
    { privateKey, listenPort: 0, version: 'test', ca: undefined, hostAddresses: ['127.0.0.1'], openPort: port.open, ...options },
  );
  return { name, address: `100.92.0.${nextAddress++}`, publicKey, overlay, port };
}

/** Two private keys, of which the first is the controller's. */
export function orderedKeys(): readonly [Uint8Array, Uint8Array] {
  const keys = [generatePrivateKey(), generatePrivateKey()].map((key) => ({ key, text: toBase64(publicFromPrivate(key)) }));
  const [first, second] = keys.sort((a, b) => (a.text > b.text ? -1 : 1));
  if (first === undefined || second === undefined) throw new TypeError('two keys');
  return [first.key, second.key];
}

let serial = 1n;

/** Tells every member of all the others, or of those in `peers`. */
export function connect(members: readonly Member[], filter: PacketFilter = { kind: 'open' }, peers: readonly Member[] = members): void {
  for (const self of members) self.overlay.apply(mapFor(self, peers, filter));
}

export function mapFor(self: Member, peers: readonly Member[], filter: PacketFilter, lazy = false): NetworkMap {
  return {
    serial: serial++,
    self: { v4: prefix(`${self.address}/16`), v6: undefined, fqdn: `${self.name}.mesh.test` },
    peers: peers
      .filter((peer) => peer !== self)
      .map((peer) => ({
        publicKey: peer.publicKey,
        allowedIps: [prefix(`${peer.address}/32`)],
        fqdn: `${peer.name}.mesh.test`,
        agentVersion: '0.70.0',
      })),
    filter,
    lazy,
  };
}

/** A relay on loopback that can be killed and started again at its port. */
export class TestRelay {
  #http: Server | undefined;
  #relay: RelayServer | undefined;
  #port = 0;
  readonly #sockets = new Set<Socket>();
  readonly #tls: { readonly certPem: string; readonly keyPem: string } | undefined;
  readonly #clock: Clock;

  /** With a certificate it is a `rels://` relay. */
  constructor(tls?: { readonly certPem: string; readonly keyPem: string }, clock: Clock = systemClock) {
    this.#tls = tls;
    this.#clock = clock;
  }

  get url(): string {
    return this.#tls === undefined ? `rel://127.0.0.1:${this.#port}` : `rels://relay.localhost:${this.#port}`;
  }

  get server(): RelayServer {
    if (this.#relay === undefined) throw new TypeError('the relay is down');
    return this.#relay;
  }

  async start(): Promise<this> {
    const relay = createRelayServer({ secret: 'relay-secret', instanceUrl: () => this.url, log: silentLogger, clock: this.#clock });
    const http = this.#tls === undefined ? createServer() : createTlsServer({ cert: this.#tls.certPem, key: this.#tls.keyPem });
    const sockets = new WebSocketServer(relayWebSocketOptions);
    http.on('upgrade', (request, socket, head) => sockets.handleUpgrade(request, socket, head, (webSocket) => relay.accept(webSocket)));
    http.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve) => http.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (http.address() as AddressInfo).port;
    this.#http = http;
    this.#relay = relay;
    return this;
  }

  async stop(): Promise<void> {
    const http = this.#http;
    await this.#relay?.close();
    this.#relay = undefined;
    this.#http = undefined;
    http?.closeAllConnections();
    if (http !== undefined) await new Promise((resolve) => http.close(resolve));
  }

  /** Ends it without a word, as a killed process does. */
  async kill(): Promise<void> {
    const http = this.#http;
    this.#http = undefined;
    this.#relay = undefined;
    for (const socket of this.#sockets) socket.resetAndDestroy();
    if (http !== undefined) await new Promise((resolve) => http.close(resolve));
  }

  endpoints(): MeshEndpoints {
    const token = this.server.issueToken(this.#clock.wall());
    return {
      signal: { host: 'localhost', port: 1, tls: false },
      stunUrls: [],
      relay: { urls: [this.url], tokenPayload: token.payload, tokenSignature: token.signature },
    };
  }
}

/** All bytes up to the other side's end. Unlike `for await`, it leaves our own side open. */
export function readAll(stream: Duplex): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('end', () => resolve(Buffer.concat(parts)));
    stream.on('error', reject);
    stream.resume();
  });
}

/** Resolves when the condition holds; looked at every few milliseconds, as status is no event. `state` says how things stand where it never does. */
export async function until(holds: () => boolean, limitMs: number, state: () => string = () => ''): Promise<number> {
  const start = performance.now();
  while (!holds()) {
    if (performance.now() - start > limitMs) throw new Error(`not within ${limitMs} ms ${state()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return performance.now() - start;
}

export function pathKind(of: Member, to: Member): string | undefined {
  return of.overlay.status().peers.find((peer) => peer.publicKey === to.publicKey)?.path?.kind;
}
