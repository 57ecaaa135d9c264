// One request and its answer, whatever HTTP version the client speaks. Servers make exchanges; one handler answers them.
import type { Duplex } from 'node:stream';
import type { Endpoint } from '#lib/net.ts';
import type { PublicKey } from '#model/ids.ts';
import type { Fields } from '#wire/http1-fields.ts';
import type { ClientAddress } from '../access/client-address.ts';
import type { ShownCertificate } from '../tls/client-certificates.ts';

/** What is known of the client's connection. */
export interface Client {
  readonly remote: Endpoint;
  /** `remote` as an address, read once for all requests of the connection; undefined where it is none. */
  readonly peer: ClientAddress | undefined;
  /** Where it connected to. */
  readonly local: Endpoint;
  /** Another for each connection. */
  readonly id: number;
  /** Canonical server name of the TLS handshake, or undefined where there was no TLS. */
  readonly serverName: string | undefined;
  /** What it showed of itself in the handshake; undefined where the host asked for nothing. */
  readonly shown: ShownCertificate | undefined;
  /** Where it came over the mesh: whose WireGuard key it has proven to have. */
  readonly meshPeer: PublicKey | undefined;
}

/** The request as one parse found it. */
export interface ExchangeRequest {
  readonly version: '1.0' | '1.1' | '2';
  readonly method: string;
  /** As sent: origin-form for nearly all; `*` and absolute-form are for the handler to judge. */
  readonly target: string;
  /** Host or :authority as sent. */
  readonly authority: string;
  /** Without pseudo-header fields. */
  readonly fields: Fields;
  /** Bytes of the body, undefined where the length is unknown, 0 where there is none. */
  readonly length: number | undefined;
  /** The protocol asked for by an upgrade. */
  readonly upgrade: string | undefined;
}

/** Takes a body. Nothing is called after `end` or `fail`. */
export interface BodySink {
  /** False asks the source to pause until its `resume` is called; what comes meanwhile must still be taken. */
  write(payload: Buffer): boolean;
  /** The source has nothing more at hand: what was gathered should go out now. */
  flush(): void;
  end(trailers: Fields | undefined): void;
  /** The body broke off. */
  fail(): void;
}

/** An answer's head. Framing and connection fields are the server's own business and not among the fields. */
export interface Answer {
  readonly status: number;
  readonly reason: string;
  readonly fields: Fields;
  /** Bytes of the body, 0 for none, undefined where only its end tells. */
  readonly length: number | undefined;
  /** The length that the head states without a body following: for answers to HEAD and 304. */
  readonly statedLength?: number | undefined;
}

// The listeners below are objects and not functions: closures that an exchange keeps are promoted by V8 together with all that they name,
// at a third of the whole cost of a small request (measured, see test/bench/README.md).

/** Whose exchange it is. */
export interface ExchangeOwner {
  /** The client has gone, or the exchange was ended from outside. Called at most once, never after the answer's end. */
  exchangeAborted(): void;
  /** The answer has been handed over whole, or never will be. Called exactly once. */
  exchangeDone(bytesDown: number, bytesUp: number): void;
}

/** Where the answer comes from. */
export interface AnswerSource {
  /** As `exchangeAborted`. */
  clientGone(): void;
  /** The client takes more again after `write` said false. */
  clientDrained(): void;
}

/** What the handler does with a request. Each exchange is answered once: `answer`, writes, `end`; or `upgrade`; or `abort`. */
export interface Exchange {
  readonly request: ExchangeRequest;
  readonly client: Client;
  /** Set by the handler. */
  owner: ExchangeOwner | undefined;
  /** Set by whoever forwards, while it does. */
  source: AnswerSource | undefined;
  /** Why the request itself broke off, for the log; undefined while it is well-formed. */
  readonly fault: string | undefined;
  /** Begins to hand on the request body. Sends 100 Continue where it is awaited. */
  readBody(sink: BodySink): void;
  pauseBody(): void;
  resumeBody(): void;
  /** Sends an interim answer (1xx but 101). */
  inform(status: number, fields: Fields): void;
  answer(answer: Answer): void;
  /** `lent` payload is valid only during the call. */
  write(payload: Buffer, lent?: boolean): boolean;
  flush(): void;
  end(trailers: Fields | undefined): void;
  /** Cuts the exchange: the client sees a broken answer, never one that looks complete. */
  abort(): void;
  /** Answers 101 with the fields and gives the bare stream, bytes already read included; undefined where the client's version has none. */
  upgrade(fields: Fields): Duplex | undefined;
}
