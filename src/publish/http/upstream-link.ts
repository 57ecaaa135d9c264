// How one request is spoken to an upstream, whatever HTTP version it speaks: a place for a request, and who takes the answer.
import type { Duplex } from 'node:stream';
import type { Fields } from '#wire/http1-fields.ts';
import type { ResponseHead } from '#wire/http1-head.ts';

/**
 * Why an exchange with an upstream failed. `stale`: it closed without a byte of an answer, on a connection used before. `unprocessed`: it said that
 * it has not looked at the request, which may be sent again whatever it is.
 */
export type UpstreamFailure = 'stale' | 'unprocessed' | 'closed' | 'bad_answer';

/** Takes the answer. Exactly one of `answerEnd`, `answerFailed` and (for 101) `switched` ends it. */
export interface AnswerReceiver {
  interim(head: ResponseHead): void;
  answerHead(head: ResponseHead): void;
  /** False asks to pause until `resumeAnswer`. `lent` payload is valid only during the call. */
  answerData(payload: Buffer, lent?: boolean): boolean;
  answerFlush(): void;
  answerEnd(trailers: Fields | undefined): void;
  /** 101: the stream is the caller's now, unread bytes included. */
  switched(head: ResponseHead, stream: Duplex): void;
  answerFailed(failure: UpstreamFailure, detail: string): void;
  /** The connection takes more of the request body again. */
  requestDrain(): void;
}

/** A connection, or a stream of one, that is this request's until its answer has ended. */
export interface UpstreamLink {
  /**
   * Begins the request, once at a time. `head` is an HTTP/1.1 head with its empty line; `body` says how payload follows. The head may wait for
   * the first payload: see `flushRequest`.
   */
  send(head: string, method: string, body: 'none' | 'length' | 'chunked', upgrading: boolean, receiver: AnswerReceiver): void;
  /** False asks to pause until `requestDrain`; what comes meanwhile is still taken. */
  writeBody(payload: Buffer): boolean;
  flushRequest(): void;
  endBody(trailers: Fields | undefined): void;
  resumeAnswer(): void;
  /** The request in work is this connection's last. */
  retire(): void;
  /** Gives up what is in work; nothing more is told to the receiver. */
  destroy(): void;
}
