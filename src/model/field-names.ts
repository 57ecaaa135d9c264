// Which header fields a service's configuration may touch. Names are compared by class, not by spelling (attack rows H-1 to H-5).

/**
 * One form for all spellings of a header name that some server takes for the same: CGI and its kin (WSGI, PHP) ignore case and turn whatever
 * is neither letter nor digit into `_`.
 */
export function canonicalHeaderName(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '-');
}

/** About one connection or the framing of a message (RFC 9110 §7.6.1): made by the codecs alone. */
const framing = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** What a gateway says of the request itself. */
const forwarding = new Set([
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-real-ip',
  'x-request-id',
  'via',
]);

/** Names that say who calls; only a gateway sets them. */
const identity = /^(?:x-meshgate|x-netbird|remote|x-remote|x-auth-request)-|^x-forwarded-(?:user|email|groups|preferred-username)$/;

/** Of an answer's body as the upstream sent it: another value would make it unreadable. */
const coding = new Set(['content-encoding', 'content-range']);

const fieldName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;

/** Why a request field cannot be set, added or removed by configuration, or undefined where it can. */
export function requestFieldProblem(name: string): string | undefined {
  if (!fieldName.test(name)) return `${JSON.stringify(name)} is not the name of a header`;
  const folded = canonicalHeaderName(name);
  return framing.has(folded) || forwarding.has(folded) || identity.test(folded) ? `the header ${name} is set by the gateway` : undefined;
}

/** The same for a field of an answer. */
export function responseFieldProblem(name: string): string | undefined {
  if (!fieldName.test(name)) return `${JSON.stringify(name)} is not the name of a header`;
  const folded = canonicalHeaderName(name);
  return framing.has(folded) || coding.has(folded) || folded.startsWith('x-meshgate-') ? `the header ${name} is set by the gateway` : undefined;
}

/** Why a text cannot stand as a field's value, or undefined where it can. One character stands for one byte. */
export function fieldValueProblem(name: string, value: string): string | undefined {
  return value.length <= valueLength && /^[\t\x20-\x7e\x80-\xff]*$/.test(value)
    ? undefined
    : `the value of the header ${name} has a line break or another sign that cannot be sent, or is too long`;
}

/** Characters of a configured value. */
const valueLength = 4_096;
