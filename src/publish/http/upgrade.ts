// Upgraded connections (WebSocket and others, RFC 9110 §7.8): after 101 the bytes of both sides are joined, not parsed.
import type { Duplex } from 'node:stream';
import { splice } from '#lib/splice.ts';
import type { ResponseHead } from '#wire/http1-head.ts';
import type { OwnReason } from '../pages/reasons.ts';
import type { Exchange } from './exchange.ts';
import type { FieldClass } from './field-class.ts';
import { responseFields } from './headers.ts';

export interface UpgradeEvents {
  /** The streams are joined; `close` cuts both. */
  begun(close: () => void): void;
  ended(bytesDown: number, bytesUp: number): void;
  failed(reason: OwnReason, detail: string): void;
}

/** Answers the client with an upstream's 101, its fields but `without`, and joins the streams until both were silent for `idleMs`. */
export function joinUpgrade(
  exchange: Exchange,
  head: ResponseHead,
  upstream: Duplex,
  without: FieldClass,
  idleMs: number,
  events: UpgradeEvents,
): void {
  const asked = exchange.request.upgrade?.toLowerCase().split(/[ \t]*,[ \t]*/) ?? [];
  if (head.upgrade === undefined || !asked.includes(head.upgrade.toLowerCase())) {
    upstream.destroy();
    return events.failed('upstream_bad_answer', '101 for another protocol');
  }
  const fields = responseFields(head.fields, without);
  fields.names.push('Connection', 'Upgrade');
  fields.keys.push('connection', 'upgrade');
  fields.values.push('Upgrade', head.upgrade);
  const client = exchange.upgrade(fields);
  if (client === undefined) {
    upstream.destroy();
    return events.failed('upstream_bad_answer', '101 where none is possible');
  }
  events.begun(() => {
    client.destroy();
    upstream.destroy();
  });
  const joined = splice(client, upstream, { idleMs });
  // Both were paused while they changed hands.
  client.resume();
  upstream.resume();
  joined.then(
    ({ forward, backward }) => events.ended(backward, forward),
    () => events.ended(0, 0),
  );
}
