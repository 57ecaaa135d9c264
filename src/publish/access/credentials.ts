// Secrets that come with a request: which fields of it are one for its service, and which of them end here.
import { deviceTokenPrefix, isToken } from '#crypto/tokens.ts';
import { asksFor, type AccessPolicy, type CredentialHeader } from '#model/access.ts';
import type { Credential } from '#model/identity.ts';
import type { Fields } from '#wire/http1-fields.ts';

/** What a service looks for in requests; made once for each version of it. */
export interface CredentialKinds {
  readonly headers: readonly CredentialHeader[];
  readonly basic: boolean;
  readonly device: boolean;
}

/** Undefined where requests of the service bring none: nearly all services. */
export function compileCredentials(access: AccessPolicy): CredentialKinds | undefined {
  const kinds = {
    headers: asksFor(access, 'header') ? access.headers : [],
    basic: asksFor(access, 'basic'),
    device: asksFor(access, 'device'),
  };
  return kinds.headers.length === 0 && !kinds.basic && !kinds.device ? undefined : kinds;
}

/**
 * The credentials of a request, or that it has one that cannot be read: it then counts as wrong, as one parse of it might find another in it than
 * the next. A field of the application's own is none: a bearer token that is not ours, a header that the service does not ask for.
 */
export function credentialsOf(
  { headers, basic, device }: CredentialKinds,
  fields: Fields,
  deviceSecret: string | undefined,
): readonly Credential[] | 'unreadable' {
  const found: Credential[] = [];
  if (device) {
    const secrets = [...valuesOf(fields, deviceHeader), ...(deviceSecret === undefined ? [] : [deviceSecret])];
    if (new Set(secrets).size > 1) return 'unreadable';
    if (secrets[0] !== undefined) found.push(deviceOf(secrets[0]));
  } else if (deviceSecret !== undefined) {
    return 'unreadable';
  }
  for (const { name } of headers) {
    const values = valuesOf(fields, name);
    if (values.length > 1) return 'unreadable';
    const secret = values[0] === undefined ? undefined : textOf(values[0]);
    if (values.length === 1 && secret === undefined) return 'unreadable';
    if (secret !== undefined && secret !== '') found.push({ kind: 'header', name, secret });
  }
  const [value] = basic || device ? valuesOf(fields, 'authorization').filter((text) => basicScheme.test(text)) : [];
  const pair = value === undefined ? undefined : basicOf(value);
  if (pair !== undefined && device && isToken(pair.secret, deviceTokenPrefix)) found.push(deviceOf(pair.secret));
  else if (basic && value !== undefined) {
    if (pair === undefined) return 'unreadable';
    found.push(pair);
  }
  return found;
}

/** Keys of fields that brought such a secret and do not go to the upstream (attack row H-20). */
export function spentFields({ headers, basic, device }: CredentialKinds, fields: Fields): readonly string[] {
  const spent = headers.filter(({ keep }) => !keep).map(({ name }) => name);
  const ours = (text: string): boolean => basicScheme.test(text) && (basic || (device && isToken(basicOf(text)?.secret ?? '', deviceTokenPrefix)));
  return valuesOf(fields, 'authorization').some(ours) ? [...spent, 'authorization'] : spent;
}

const deviceHeader = 'x-meshgate-device';

function deviceOf(secret: string): Credential {
  return { kind: 'device', name: '', secret };
}

const basicScheme = /^basic(?: |$)/i;

/** RFC 7617 §2: base64 of name, colon and password; we ask for UTF-8, and control characters stand in neither. */
function basicOf(value: string): Credential | undefined {
  const encoded = value.slice('basic'.length).trim();
  const bytes = Buffer.from(encoded, 'base64');
  if (bytes.toString('base64').replace(/=+$/, '') !== encoded.replace(/=+$/, '')) return undefined;
  const text = readUtf8(bytes);
  const colon = text?.indexOf(':') ?? -1;
  if (text === undefined || colon < 1 || /\p{Cc}/u.test(text)) return undefined;
  return { kind: 'basic', name: text.slice(0, colon).normalize('NFC'), secret: text.slice(colon + 1).normalize('NFC') };
}

function valuesOf({ keys, values }: Fields, key: string): readonly string[] {
  return values.filter((_value, i) => keys[i] === key);
}

/** One character of a field stands for one byte; people write UTF-8. Undefined where it is none. */
function textOf(value: string): string | undefined {
  return readUtf8(Buffer.from(value, 'latin1'));
}

const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function readUtf8(bytes: Uint8Array): string | undefined {
  try {
    return utf8Decoder.decode(bytes);
  } catch {
    return undefined;
  }
}
