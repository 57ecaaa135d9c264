// One WebSocket to one relay, from connecting to its end (netbird-wire §4.5). It is never revived: the uplink makes a new one.
import type { LookupFunction } from 'node:net';
import { createRequire } from 'node:module';
import type * as Ws from 'ws';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { parseHostPort } from '#lib/net.ts';
import { resolveHost } from '#lib/resolve.ts';
import {
  decodeRelay,
  encodeRelayAuth,
  encodeRelayClose,
  encodeRelayHealthCheck,
  encodeRelayList,
  encodeRelayTransport,
  isRelayTransport,
  relayHeaderBytes,
  relayMaxMessageBytes,
  relayMaxPayloadBytes,
  relayPeerKey,
  relayTransportHeaderBytes,
} from '#wire/relay.ts';
import {
  PATH_VERIFY_MS,
  RELAY_AUTH_TIMEOUT_MS,
  RELAY_CONNECT_TIMEOUT_MS,
  RELAY_HEALTH_LIMIT_MS,
  RELAY_MAX_QUEUED_BYTES,
  RELAY_PING_INTERVAL_MS,
  RELAY_PONG_LIMIT_MS,
  RELAY_SILENCE_MS,
} from '../constants.ts';

const binaryFrame = { binary: true, compress: false, fin: true } as const;

export interface RelayLinkOptions {
  /** `rel://host:port` or `rels://host:port`. */
  readonly url: string;
  readonly selfId: Uint8Array;
  /** The token as it stands in Auth. */
  readonly token: Uint8Array;
  /** PEM of extra roots for `rels://`. */
  readonly ca: string | undefined;
  readonly clock: Clock;
}

export interface RelayLinkEvents {
  up(link: RelayLink): void;
  /** Exactly once, whatever was before; not after `close`. */
  down(link: RelayLink, reason: string): void;
  packet(link: RelayLink, peerKey: string, datagram: Uint8Array): void;
  presence(link: RelayLink, peerKeys: readonly string[], online: boolean): void;
}

let loaded: typeof Ws | undefined;

/** Loaded with the first relay: with what it brings it takes 17 MB, which a peer that names no relay does not need. */
function webSocket(): typeof Ws.WebSocket {
  loaded ??= createRequire(import.meta.url)('ws') as typeof Ws;
  return loaded.WebSocket;
}

type State = { readonly kind: 'connecting' } | { readonly kind: 'up'; readonly instanceUrl: string } | { readonly kind: 'over' };

export class RelayLink {
  readonly url: string;
  readonly #clock: Clock;
  readonly #events: RelayLinkEvents;
  readonly #socket: Ws.WebSocket;
  #state: State = { kind: 'connecting' };
  #deadline: Timer;
  #pinger: Timer | undefined;
  #pingSentAt: number | undefined;
  #pongDeadline: Timer | undefined;
  #silence: Timer | undefined;
  #heard = false;
  #localAddress: string | undefined;
  latencyMs: number | undefined;
  droppedPackets = 0;

  constructor(options: RelayLinkOptions, events: RelayLinkEvents) {
    this.url = options.url;
    this.#clock = options.clock;
    this.#events = events;
    this.#socket = new (webSocket())(webSocketUrl(options.url), {
      perMessageDeflate: false,
      maxPayload: relayMaxMessageBytes,
      handshakeTimeout: RELAY_CONNECT_TIMEOUT_MS,
      followRedirects: false,
      lookup: lookupHost,
      ...(options.ca === undefined ? {} : { ca: [...process.getBuiltinModule('node:tls').rootCertificates, options.ca] }),
    });
    this.#deadline = this.#clock.after(RELAY_CONNECT_TIMEOUT_MS, () => this.#end('the relay did not answer in time'));
    this.#socket.on('upgrade', ({ socket }) => {
      this.#localAddress = unmapped(socket.localAddress);
    });
    this.#socket.on('open', () => {
      this.#setDeadline(RELAY_AUTH_TIMEOUT_MS, 'the relay did not accept the token in time');
      this.#socket.send(encodeRelayAuth(options.selfId, options.token), binaryFrame);
    });
    this.#socket.on('message', (data, isBinary) => {
      if (isBinary && Buffer.isBuffer(data)) this.#receive(data);
      else this.#end('the relay sent text');
    });
    this.#socket.on('pong', () => this.#ponged());
    this.#socket.on('error', (error) => this.#end(describeError(error)));
    this.#socket.on('close', (code) => this.#end(`the relay closed the connection (${code})`));
  }

  /** The relay's own name for itself, once it is up. */
  get instanceUrl(): string | undefined {
    return this.#state.kind === 'up' ? this.#state.instanceUrl : undefined;
  }

  /** Sends a datagram to a peer, or drops it where too much waits. */
  send(peerId: Uint8Array, datagram: Uint8Array): void {
    if (this.#state.kind !== 'up' || datagram.length > relayMaxPayloadBytes) return;
    if (this.#socket.bufferedAmount > RELAY_MAX_QUEUED_BYTES) this.droppedPackets++;
    else this.#socket.send(encodeRelayTransport(peerId, datagram), binaryFrame);
    if (this.#silence === undefined) this.#watchSilence();
  }

  subscribe(peerIds: readonly Uint8Array[]): void {
    this.#sendList('subscribe', peerIds);
  }

  unsubscribe(peerIds: readonly Uint8Array[]): void {
    this.#sendList('unsubscribe', peerIds);
  }

  /**
   * The host's network changed. A connection from an address that the host no longer has is over; any other has PATH_VERIFY_MS to answer
   * a ping. `addresses` undefined: not known.
   */
  verify(addresses: ReadonlySet<string> | undefined): void {
    if (this.#state.kind !== 'up') return;
    if (this.#localAddress !== undefined && addresses?.has(this.#localAddress) === false)
      return this.#end('the address of the connection to the relay is gone');
    this.#pinger?.cancel();
    this.#ping(PATH_VERIFY_MS);
  }

  /** Says goodbye; no event follows. */
  close(): void {
    if (this.#state.kind === 'over') return;
    if (this.#state.kind === 'up') this.#socket.send(encodeRelayClose(), binaryFrame);
    this.#finish();
    // Closing before it is open makes `ws` report an error that nobody has to hear of; the listener above hears it.
    this.#socket.close();
  }

  /** Packets went out: where nothing at all comes back, the relay may be gone without a word. */
  #watchSilence(): void {
    this.#heard = false;
    this.#silence = this.#clock.after(RELAY_SILENCE_MS, () => {
      this.#silence = undefined;
      if (this.#heard) return;
      this.#pinger?.cancel();
      this.#ping(RELAY_SILENCE_MS);
    });
  }

  #sendList(kind: 'subscribe' | 'unsubscribe', peerIds: readonly Uint8Array[]): void {
    if (this.#state.kind !== 'up') return;
    for (const frame of encodeRelayList(kind, peerIds)) this.#socket.send(frame, binaryFrame);
  }

  #receive(frame: Buffer): void {
    this.#heard = true;
    if (this.#state.kind === 'up' && isRelayTransport(frame)) {
      this.#events.packet(this, relayPeerKey(frame, relayHeaderBytes), frame.subarray(relayTransportHeaderBytes));
      return;
    }
    if (this.#state.kind === 'over') return;
    const message = decodeRelay(frame);
    switch (message?.kind) {
      case 'auth-response':
        if (this.#state.kind === 'connecting') this.#authenticated(message.instanceUrl);
        return;
      case 'health-check':
        this.#socket.send(encodeRelayHealthCheck(), binaryFrame);
        this.#setDeadline(RELAY_HEALTH_LIMIT_MS, 'the relay sent no health check');
        return;
      case 'online':
      case 'offline':
        this.#events.presence(
          this,
          message.peerIds.map((id) => relayPeerKey(id)),
          message.kind === 'online',
        );
        return;
      case 'close':
        this.#end('the relay said goodbye');
        return;
      case 'transport':
      case 'auth':
      case 'subscribe':
      case 'unsubscribe':
      case undefined:
        this.#end('the relay sent what no relay sends');
    }
  }

  #authenticated(instanceUrl: string): void {
    this.#state = { kind: 'up', instanceUrl };
    this.#setDeadline(RELAY_HEALTH_LIMIT_MS, 'the relay sent no health check');
    this.#events.up(this);
    this.#ping(RELAY_PONG_LIMIT_MS);
  }

  #ping(limitMs: number): void {
    if (this.#state.kind !== 'up') return;
    this.#pingSentAt = this.#clock.now();
    this.#socket.ping();
    this.#pongDeadline?.cancel();
    this.#pongDeadline = this.#clock.after(limitMs, () => this.#end('the relay no longer answers'));
    this.#pinger = this.#clock.after(RELAY_PING_INTERVAL_MS, () => this.#ping(RELAY_PONG_LIMIT_MS));
  }

  #ponged(): void {
    if (this.#pingSentAt !== undefined) this.latencyMs = this.#clock.now() - this.#pingSentAt;
    this.#pingSentAt = undefined;
    this.#pongDeadline?.cancel();
    this.#pongDeadline = undefined;
  }

  #setDeadline(ms: number, reason: string): void {
    this.#deadline.cancel();
    this.#deadline = this.#clock.after(ms, () => this.#end(reason));
  }

  #end(reason: string): void {
    if (this.#state.kind === 'over') return;
    this.#finish();
    this.#socket.terminate();
    this.#events.down(this, reason);
  }

  #finish(): void {
    this.#state = { kind: 'over' };
    this.#deadline.cancel();
    this.#pinger?.cancel();
    this.#pongDeadline?.cancel();
    this.#silence?.cancel();
  }
}

function unmapped(address: string | undefined): string | undefined {
  return address?.replace(/^::ffff:(?=\d+\.)/, '');
}

/** Whether the text is a relay's URL; any path is ignored by the protocol. */
export function isRelayUrl(url: string): boolean {
  const match = /^rels?:\/\/([^/]+)/.exec(url);
  return match?.[1] !== undefined && parseHostPort(match[1], 443) !== undefined;
}

function webSocketUrl(url: string): string {
  const [scheme, rest = ''] = url.split('://');
  return `${scheme === 'rels' ? 'wss' : 'ws'}://${rest.replace(/\/.*$/, '')}/relay`;
}

/** Names under localhost are loopback, whatever the system's resolver thinks. */
const lookupHost: LookupFunction = (host, options, done) => {
  resolveHost(host).then(
    (addresses) => {
      const found = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
      const first = found[0];
      if (options.all === true) done(null, found);
      else if (first !== undefined) done(null, first.address, first.family);
    },
    (error: unknown) => done(error instanceof Error ? error : null, []),
  );
};
