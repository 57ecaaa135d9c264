// Which fields cross the gateway. Removal comes before setting, by class and not by spelling (attack rows H-1 to H-16, H-19, H-20).
import { canonicalHeaderName } from '#model/field-names.ts';
import { fieldValue, listMembers, type Fields } from '#wire/http1-fields.ts';
import type { IdentityHeaders } from '../access/backend.ts';
import { setsOwnCookie, stripOwnCookies } from '../access/cookies.ts';
import { redactReferer } from '../access/device-path.ts';
import type { FieldClass } from './field-class.ts';

/** About one connection, not the message (RFC 9110 §7.6.1), or made anew by the codec. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'content-length',
  'upgrade',
  'expect',
  'http2-settings',
  'host',
]);

/** What a client might claim of itself or of a proxy before us, folded. */
const claims = new Set([
  'forwarded',
  'x-forwarded',
  'x-real-ip',
  'x-request-id',
  'x-original-url',
  'x-original-uri',
  'x-original-host',
  'x-rewrite-url',
  'x-client-ip',
  'x-cluster-client-ip',
  'cf-connecting-ip',
  'cf-connecting-ipv6',
  'true-client-ip',
  'fastly-client-ip',
  'x-meshgate-token',
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'proxy',
]);

/** Names that only ever come from a gateway, by beginning. */
const claimPrefixes = ['x-forwarded-', 'x-meshgate-', 'x-netbird-', 'remote-', 'x-remote-', 'x-auth-request-'];

type Verdict = 'pass' | 'drop' | 'cookie' | 'referer';

/** Decides by name, once for each spelling: verdicts are remembered, in a table that strangers can only empty. */
export class RequestFieldPolicy {
  readonly #identity: IdentityHeaders;
  readonly #ownTraces: boolean;
  readonly #verdicts = new Map<string, Verdict>();

  /** With `ownTraces` the trace context is ours to say. */
  constructor(identity: IdentityHeaders, ownTraces = false) {
    this.#identity = identity;
    this.#ownTraces = ownTraces;
  }

  verdict(key: string): Verdict {
    const known = this.#verdicts.get(key);
    if (known !== undefined) return known;
    const verdict = this.#decide(key);
    if (this.#verdicts.size >= REMEMBERED) this.#verdicts.clear();
    this.#verdicts.set(key, verdict);
    return verdict;
  }

  #decide(key: string): Verdict {
    if (key === 'cookie' || key === 'referer') return key;
    const folded = canonicalHeaderName(key);
    // Header, HTTP_HEADER and the like: a name that folds to a framing or routing field is dropped with it.
    if (hopByHop.has(folded) || claims.has(folded) || folded === 'cookie') return 'drop';
    if (this.#ownTraces && (folded === 'traceparent' || folded === 'tracestate')) return 'drop';
    if (claimPrefixes.some((prefix) => folded.startsWith(prefix))) return 'drop';
    return this.#identity.isReserved(key) || this.#identity.isReserved(folded) ? 'drop' : 'pass';
  }
}

const REMEMBERED = 512;

/**
 * The client's fields that go upstream, as lines. Dropped too are `withoutNames`, which the route sets or removes itself, and
 * `withoutKeys`, the fields that brought a token or another secret for us. Names listed by Connection are dropped before anything of ours is set, so a client cannot have ours removed.
 */
export function requestLines(
  fields: Fields,
  policy: RequestFieldPolicy,
  withoutNames: FieldClass,
  withoutKeys: readonly string[],
  ownCookies: boolean,
): string {
  const { names, keys, values } = fields;
  const listed = connectionListed(fields);
  let text = '';
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] ?? '';
    const verdict = policy.verdict(key);
    if (verdict === 'drop' || (withoutKeys.length > 0 && withoutKeys.includes(key)) || (listed !== undefined && listed.includes(key))) continue;
    if (!withoutNames.empty && withoutNames.has(key)) continue;
    const sent = values[i] ?? '';
    const value = verdict === 'cookie' && ownCookies ? stripOwnCookies(sent) : verdict === 'referer' ? redactReferer(sent) : sent;
    if (value !== undefined) text += `${names[i]}: ${value}\r\n`;
  }
  return text;
}

/** Names that Connection lists beyond its usual options, or undefined. */
function connectionListed(fields: Fields): readonly string[] | undefined {
  const value = fieldValue(fields, 'connection');
  if (value === undefined || value === 'keep-alive' || value === 'close') return undefined;
  const all: string[] = [];
  for (let i = 0; i < fields.keys.length; i++) {
    if (fields.keys[i] === 'connection') all.push(...listMembers(fields.values[i] ?? ''));
  }
  return all;
}

const responseHopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'te',
  'trailer',
  'transfer-encoding',
  'content-length',
  'upgrade',
  'http2-settings',
]);

/** An upstream's fields that go to the client but `without`; its attempts to set our cookies or to speak in our name are taken out. */
export function responseFields(fields: Fields, without: FieldClass): Fields {
  const listed = connectionListed(fields);
  const out: Fields = { names: [], keys: [], values: [] };
  for (let i = 0; i < fields.keys.length; i++) {
    const key = fields.keys[i] ?? '';
    const value = fields.values[i] ?? '';
    if (responseHopByHop.has(key) || key.startsWith('x-meshgate-') || (listed !== undefined && listed.includes(key))) continue;
    if (key === 'set-cookie' && setsOwnCookie(value)) continue;
    if (!without.empty && without.has(key)) continue;
    out.names.push(fields.names[i] ?? '');
    out.keys.push(key);
    out.values.push(value);
  }
  return out;
}

/** Trailers that may follow a body: never what frames, routes or authenticates (RFC 9110 §6.5.1, attack row S-7). */
export function safeTrailers(trailers: Fields | undefined, policy: RequestFieldPolicy, withoutNames: FieldClass): Fields | undefined {
  if (trailers === undefined) return undefined;
  const out: Fields = { names: [], keys: [], values: [] };
  for (let i = 0; i < trailers.keys.length; i++) {
    const key = trailers.keys[i] ?? '';
    if (policy.verdict(key) !== 'pass' || forbiddenTrailers.has(key) || withoutNames.has(key)) continue;
    out.names.push(trailers.names[i] ?? '');
    out.keys.push(key);
    out.values.push(trailers.values[i] ?? '');
  }
  return out.names.length === 0 ? undefined : out;
}

const forbiddenTrailers = new Set([
  'authorization',
  'set-cookie',
  'location',
  'content-type',
  'content-encoding',
  'content-range',
  'cache-control',
  'max-forwards',
  'www-authenticate',
  'range',
]);
