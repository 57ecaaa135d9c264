// How a stream of HTTP/2 is broken off. `stream.close(code)` of node:http2 ends the body first, with END_STREAM, so that a truncated message would look whole.
import type { Http2Session, Http2Stream } from 'node:http2';

/** One for all: what it says is never read, and a stack costs. */
const cut = new Error('cut');

/** RST_STREAM with INTERNAL_ERROR, and nothing else of the message. */
export function cutStream(stream: Http2Stream): void {
  stream.destroy(cut);
}

/** Cuts all streams, and ends the connection. */
export function cutSession(session: Http2Session): void {
  session.destroy(cut);
}
