// The relay: carries packets between peers that find no direct path, by peer id, without being able to read them (netbird-wire §4).
import type { WebSocket } from 'ws';
import type { Clock } from '#lib/clock.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import {
  decodeRelay,
  encodeRelayAuthResponse,
  encodeRelayList,
  formatRelayPeerId,
  isRelayTransport,
  relayHeaderBytes,
  relayMaxMessageBytes,
  relayPeerKey,
  type RelayMessage,
  type RelayToken,
} from '#wire/relay.ts';
import { RelayConnection } from './connection.ts';
import { MAX_CONNECTIONS, MAX_SUBSCRIPTIONS, MAX_UNAUTHENTICATED } from './constants.ts';
import { Presence } from './presence.ts';
import { createRelayTokens } from './tokens.ts';

/** What a `WebSocketServer` for the relay is made with: whole frames only as large as the protocol's, no compression. */
export const relayWebSocketOptions = { noServer: true, maxPayload: relayMaxMessageBytes, perMessageDeflate: false } as const;

export interface RelayServerOptions {
  /** Shared by all relays and the management of a deployment. */
  readonly secret: string;
  /** How peers name this relay, such as `rels://mesh.example:443`; asked at each Auth, as the port may be known late. */
  readonly instanceUrl: () => string;
  readonly log: Logger;
  readonly clock: Clock;
}

export interface RelayStats {
  readonly connections: number;
  readonly unauthenticated: number;
  readonly forwardedPackets: number;
  readonly forwardedBytes: number;
  /** Packets that a slow receiver lost. */
  readonly droppedPackets: number;
}

export interface RelayServer extends Closable {
  /** Takes over a WebSocket that was opened at `/relay`. */
  accept(socket: WebSocket): void;
  issueToken(nowWallMs: number): RelayToken;
  stats(): RelayStats;
}

export function createRelayServer(options: RelayServerOptions): RelayServer {
  return new Relay(options);
}

class Relay implements RelayServer {
  readonly #options: RelayServerOptions;
  readonly #tokens: ReturnType<typeof createRelayTokens>;
  readonly #presence = new Presence<RelayConnection>(MAX_SUBSCRIPTIONS);
  readonly #strangers = new Set<RelayConnection>();
  #forwardedPackets = 0;
  #forwardedBytes = 0;
  #droppedPackets = 0;
  #closing: Promise<void> | undefined;

  constructor(options: RelayServerOptions) {
    this.#options = options;
    this.#tokens = createRelayTokens(options.secret);
  }

  accept(socket: WebSocket): void {
    if (this.#closing !== undefined || this.#strangers.size >= MAX_UNAUTHENTICATED || this.#presence.size >= MAX_CONNECTIONS) {
      socket.terminate();
      return;
    }
    this.#strangers.add(
      new RelayConnection(socket, this.#options.clock, {
        frame: (connection, frame) => this.#receive(connection, frame),
        gone: (connection) => this.#gone(connection),
      }),
    );
  }

  issueToken(nowWallMs: number): RelayToken {
    return this.#tokens.issue(nowWallMs);
  }

  stats(): RelayStats {
    let droppedPackets = this.#droppedPackets;
    for (const connection of this.#presence.all()) droppedPackets += connection.droppedPackets;
    return {
      connections: this.#presence.size,
      unauthenticated: this.#strangers.size,
      forwardedPackets: this.#forwardedPackets,
      forwardedBytes: this.#forwardedBytes,
      droppedPackets,
    };
  }

  close(): Promise<void> {
    this.#closing ??= Promise.resolve().then(() => {
      for (const connection of this.#strangers) connection.cut();
      for (const connection of this.#presence.all()) connection.close();
    });
    return this.#closing;
  }

  #receive(connection: RelayConnection, frame: Buffer): void {
    if (connection.authenticated && isRelayTransport(frame)) return this.#forward(connection, frame);
    const message = decodeRelay(frame);
    if (message === undefined) return this.#refuse(connection, 'a malformed message');
    if (connection.authenticated) this.#handle(connection, message);
    else if (message.kind !== 'auth') this.#refuse(connection, 'a message before Auth');
    else if (!this.#tokens.verify(message.token, this.#options.clock.wall())) this.#refuse(connection, 'a token that is not ours or has run out');
    else this.#admit(connection, Buffer.from(message.peerId));
  }

  /** The frame goes on as it came, with the sender's id in the place of the receiver's. */
  #forward(connection: RelayConnection, frame: Buffer): void {
    const receiver = this.#presence.find(relayPeerKey(frame, relayHeaderBytes));
    if (receiver === undefined) return;
    frame.set(connection.idBytes, relayHeaderBytes);
    this.#forwardedPackets++;
    this.#forwardedBytes += frame.length;
    receiver.sendPacket(frame);
  }

  #handle(connection: RelayConnection, message: RelayMessage): void {
    switch (message.kind) {
      case 'health-check':
        connection.echoed();
        return;
      case 'subscribe': {
        const there = this.#presence.subscribe(
          connection,
          message.peerIds.map((id) => relayPeerKey(id)),
        );
        for (const frame of encodeRelayList('online', there.map(idBytes))) connection.sendNotice(frame);
        return;
      }
      case 'unsubscribe':
        this.#presence.unsubscribe(
          connection,
          message.peerIds.map((id) => relayPeerKey(id)),
        );
        return;
      case 'close':
        connection.cut();
        return;
      case 'transport':
      case 'auth':
      case 'auth-response':
      case 'online':
      case 'offline':
        this.#refuse(connection, `${message.kind} out of place`);
    }
  }

  #admit(connection: RelayConnection, peerId: Uint8Array): void {
    const id = relayPeerKey(peerId);
    this.#strangers.delete(connection);
    connection.admit(id, peerId);
    const { replaced, notify } = this.#presence.arrive(id, connection);
    replaced?.close();
    for (const waiting of notify) tell(waiting, 'online', peerId);
    connection.sendNotice(encodeRelayAuthResponse(this.#options.instanceUrl()));
    this.#options.log.debug('relay: a peer is here', { peer: formatRelayPeerId(peerId), replaced: replaced !== undefined });
  }

  #gone(connection: RelayConnection): void {
    this.#strangers.delete(connection);
    if (!connection.authenticated) return;
    this.#droppedPackets += connection.droppedPackets;
    for (const watching of this.#presence.leave(connection.id, connection)) tell(watching, 'offline', connection.idBytes);
    this.#options.log.debug('relay: a connection ended', { peer: formatRelayPeerId(connection.idBytes), dropped: connection.droppedPackets });
  }

  #refuse(connection: RelayConnection, reason: string): void {
    this.#options.log.debug('relay: refused a connection', { reason });
    connection.cut();
  }
}

function tell(connection: RelayConnection, kind: 'online' | 'offline', peerId: Uint8Array): void {
  for (const frame of encodeRelayList(kind, [peerId])) connection.sendNotice(frame);
}

function idBytes(id: string): Uint8Array {
  return Buffer.from(id, 'latin1');
}
