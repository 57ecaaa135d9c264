// What the benchmark and its two end processes tell each other (structured clone over the IPC channel), and the constants they share.
import type { DialTarget, Endpoint } from '#lib/net.ts';
import type { PublicKey } from '#model/ids.ts';
import type { SignalMessage } from '#model/signal.ts';

/** Ports of the application that answers in the far end. System mode wants its own port to be free on all addresses. */
export const OVERLAY_APP_PORT = 5100;
export const KERNEL_APP_PORT = 5101;
export const DATAGRAM_PORT = 5102;
/** First byte of a connection: send until it is closed, or echo. */
export const SEND = 0x44;
export const ECHO = 0x45;
/** What one ping-pong carries. */
export const PING_BYTES = 64;
/** What the source writes at once: what a socket that is piped gives at most. */
export const CHUNK_BYTES = 64 * 1024;

/** How an end reaches the other: the kernel's TCP, or an overlay of ours in its own process. */
export type Face =
  | { readonly kind: 'kernel' }
  | {
      readonly kind: 'overlay';
      readonly mode: 'userspace' | 'system';
      readonly privateKey: Uint8Array;
      readonly mtu: number;
      /** Where the UDP port is announced. */
      readonly hostAddress: string;
      readonly own: string;
      readonly other: { readonly publicKey: PublicKey; readonly address: string };
    };

export interface BulkResult {
  readonly bytes: number;
  readonly seconds: number;
}

/** What is asked of an end, with what it answers. */
export interface Tasks {
  readonly start: { readonly request: Face; readonly answer: undefined };
  /** The kind of the path and, where the overlay tells them, the accelerators in use. */
  readonly ready: { readonly request: undefined; readonly answer: string };
  /** Downloads over so many connections at once. */
  readonly bulk: { readonly request: { readonly to: DialTarget; readonly streams: number; readonly seconds: number }; readonly answer: BulkResult };
  /** Round trips of 64 bytes on one connection, ms, in order. */
  readonly roundTrips: { readonly request: { readonly to: DialTarget; readonly seconds: number }; readonly answer: readonly number[] };
  /** Datagrams that came to the port in so many seconds, and a moment more. */
  readonly count: { readonly request: { readonly port: number; readonly seconds: number }; readonly answer: number };
  /** Sends datagrams of so many bytes; the number sent. */
  readonly send: {
    readonly request: { readonly to: Endpoint; readonly bytes: number; readonly perSecond: number | undefined; readonly seconds: number };
    readonly answer: number;
  };
  readonly startProfile: { readonly request: undefined; readonly answer: undefined };
  /** Ends the CPU profile and writes it to the file. */
  readonly stopProfile: { readonly request: string; readonly answer: undefined };
}

export type TaskName = keyof Tasks;
export type Task = { readonly [Name in TaskName]: { readonly name: Name; readonly request: Tasks[Name]['request'] } }[TaskName];

export type ToEnd =
  | { readonly kind: 'task'; readonly id: number; readonly task: Task }
  | { readonly kind: 'signal'; readonly from: PublicKey; readonly message: SignalMessage };

export type FromEnd =
  | { readonly kind: 'answer'; readonly id: number; readonly answer: unknown }
  | { readonly kind: 'failed'; readonly id: number; readonly reason: string }
  | { readonly kind: 'signal'; readonly to: PublicKey; readonly message: SignalMessage };
