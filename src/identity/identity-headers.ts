// The request headers that tell a service who calls. Only the gateway may set them: what a client sends under any spelling that a
// server could fold onto one of them is removed (attack rows H-1 to H-7).
import { canonicalHeaderName } from '#model/field-names.ts';
import type { Identity } from '#model/identity.ts';
import { headerValueBytes } from './constants.ts';

/** Headers that a signed-in caller's requests carry to the service. */
const assertionHeader = 'X-Meshgate-Assertion';

/** Every name that is ours to set or to remove. */
export const identityHeaderNames: readonly string[] = [
  'X-Meshgate-User',
  'X-Meshgate-Email',
  'X-Meshgate-Name',
  'X-Meshgate-Groups',
  assertionHeader,
  'X-NetBird-User',
  'X-NetBird-Groups',
  'Remote-User',
  'Remote-Email',
  'Remote-Name',
  'Remote-Groups',
  'X-Forwarded-User',
  'X-Forwarded-Email',
  'X-Forwarded-Groups',
];

const owned: ReadonlySet<string> = new Set(identityHeaderNames.map(canonicalHeaderName));

/** Whether a header must not come from a client, in any spelling of its name. */
export function isIdentityHeader(name: string): boolean {
  return owned.has(canonicalHeaderName(name));
}

/**
 * Names and values of an identity, the assertion last. A value is visible ASCII: control characters are left out, `%` and every
 * character outside ASCII are UTF-8 bytes in percent encoding (RFC 3986 §2.1); a group's name also has its commas so, and groups are
 * joined by commas. A value that would be empty has no header. Groups that do not fit into 4096 bytes are left out whole; the
 * assertion has all of them.
 */
export function identityHeaders(identity: Identity, assertion: string | undefined): readonly (readonly [name: string, value: string])[] {
  const groups = joinGroups(identity.groups);
  const email = headerText(identity.email);
  const all = [
    ['X-Meshgate-User', headerText(identity.userId)],
    ['X-Meshgate-Email', email],
    ['X-Meshgate-Name', headerText(identity.name)],
    ['X-Meshgate-Groups', groups],
    ['X-NetBird-User', email],
    ['X-NetBird-Groups', groups],
    [assertionHeader, assertion ?? ''],
  ] as const;
  return all.filter(([, value]) => value !== '');
}

/** Text as a header value; see `identityHeaders`. Cut at a whole character. */
export function headerText(text: string, also = ''): string {
  let value = '';
  for (const char of text.toWellFormed().trim()) {
    if (/\p{Cc}/u.test(char)) continue;
    const plain = /^[\u0020-\u007E]$/.test(char) && char !== '%' && !also.includes(char);
    const next = plain ? char : percentEncoded(char);
    if (value.length + next.length > headerValueBytes) break;
    value += next;
  }
  return value.trim();
}

function percentEncoded(char: string): string {
  return [...Buffer.from(char, 'utf8')].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('');
}

function joinGroups(names: readonly string[]): string {
  let value = '';
  for (const name of names) {
    const text = headerText(name, ',');
    if (text === '') continue;
    if (value.length + 1 + text.length > headerValueBytes) break;
    value += value === '' ? text : `,${text}`;
  }
  return value;
}
