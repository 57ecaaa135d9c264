// One WebSocket at the relay: its queue, its health, and how it ends. What its frames mean is the server's business.
import type { RawData, WebSocket } from 'ws';
import type { Clock, Timer } from '#lib/clock.ts';
import { encodeRelayClose, encodeRelayHealthCheck, relayMaxMessageBytes } from '#wire/relay.ts';
import {
  AUTH_TIMEOUT_MS,
  CLOSE_GRACE_MS,
  HEALTH_CHECK_INTERVAL_MS,
  HEALTH_CHECK_LIMIT_MS,
  MAX_QUEUED_BYTES,
  MAX_QUEUED_WITH_NOTICES_BYTES,
} from './constants.ts';

const binaryFrame = { binary: true, compress: false, fin: true } as const;

export interface ConnectionEvents {
  /** A binary message of legal size. The bytes are the connection's own and may be changed. */
  frame(connection: RelayConnection, frame: Buffer): void;
  /** Exactly once. */
  gone(connection: RelayConnection): void;
}

export class RelayConnection {
  /** The peer id as a map key; empty before Auth. */
  id = '';
  /** The peer id, 36 bytes; empty before Auth. */
  idBytes: Uint8Array = new Uint8Array(0);
  readonly subscriptions = new Set<string>();
  droppedPackets = 0;

  readonly #socket: WebSocket;
  readonly #clock: Clock;
  readonly #events: ConnectionEvents;
  #timer: Timer;
  #lastEcho = 0;
  #over = false;

  constructor(socket: WebSocket, clock: Clock, events: ConnectionEvents) {
    this.#socket = socket;
    this.#clock = clock;
    this.#events = events;
    this.#timer = clock.after(AUTH_TIMEOUT_MS, () => this.cut());
    socket.on('message', (data, isBinary) => this.#receive(data, isBinary));
    socket.on('error', () => this.cut());
    socket.on('close', () => this.#end());
  }

  get authenticated(): boolean {
    return this.id !== '';
  }

  /** From now on the peer has this name, and its health is checked. */
  admit(id: string, idBytes: Uint8Array): void {
    this.id = id;
    this.idBytes = idBytes;
    this.#timer.cancel();
    this.#lastEcho = this.#clock.now();
    this.#scheduleHealthCheck();
  }

  /** The peer answered a health check. */
  echoed(): void {
    this.#lastEcho = this.#clock.now();
  }

  /** Sends a packet, or drops it where the receiver is slow. The bytes must not change afterwards. */
  sendPacket(frame: Uint8Array): void {
    if (this.#over) return;
    if (this.#socket.bufferedAmount + frame.length > MAX_QUEUED_BYTES) this.droppedPackets++;
    else this.#socket.send(frame, binaryFrame);
  }

  /** Sends what must not be lost, or cuts the connection where too much waits already. */
  sendNotice(frame: Uint8Array): void {
    if (this.#over) return;
    if (this.#socket.bufferedAmount + frame.length > MAX_QUEUED_WITH_NOTICES_BYTES) this.cut();
    else this.#socket.send(frame, binaryFrame);
  }

  /** Says goodbye, and cuts the connection where the other side does not answer in time. */
  close(): void {
    if (this.#over) return;
    this.#socket.send(encodeRelayClose(), binaryFrame);
    this.#socket.close(1001);
    this.#timer.cancel();
    this.#timer = this.#clock.after(CLOSE_GRACE_MS, () => this.#socket.terminate());
    this.#leave();
  }

  /** Ends the connection without a word. */
  cut(): void {
    this.#socket.terminate();
    this.#end();
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#over) return;
    if (!isBinary || !Buffer.isBuffer(data) || data.length > relayMaxMessageBytes) return this.cut();
    this.#events.frame(this, data);
  }

  #scheduleHealthCheck(): void {
    this.#timer = this.#clock.after(HEALTH_CHECK_INTERVAL_MS, () => {
      if (this.#clock.now() - this.#lastEcho >= HEALTH_CHECK_LIMIT_MS) return this.cut();
      this.#scheduleHealthCheck();
      this.sendNotice(encodeRelayHealthCheck());
    });
  }

  #end(): void {
    this.#timer.cancel();
    this.#leave();
  }

  #leave(): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.gone(this);
  }
}
