// An upstream's answer as it is handed to the client's side. Framing is each side's own business.
import type { Fields } from '#wire/http1-fields.ts';
import type { ResponseHead } from '#wire/http1-head.ts';
import type { Answer } from './exchange.ts';

/** `fields` are those of the head that are passed on. */
export function upstreamAnswer({ status, reason, framing, fields: all }: ResponseHead, fields: Fields): Answer {
  const length = framing.kind === 'length' ? framing.length : framing.kind === 'none' ? 0 : undefined;
  return { status, reason, fields, length, statedLength: statedLength(all) };
}

/** Content-Length of an answer without a body (HEAD, 304), which says what a GET would bring. */
function statedLength({ keys, values }: Fields): number | undefined {
  const index = keys.indexOf('content-length');
  return index < 0 ? undefined : Number(values[index]);
}
