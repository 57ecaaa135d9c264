// The relying party's side of WebAuthn (Level 3; sections of Level 2 are the same): what a browser answers is held against what was asked for.
// Who made an authenticator is not asked (attestation `none`), so its attestation statement is not looked at.
import { createHash, createPublicKey, verify, type KeyObject } from 'node:crypto';
import type { JWK } from 'jose';
import { asBuffer, concatBytes, equalBytes, utf8 } from '#lib/bytes.ts';
import { decodeCbor, type CborValue } from '#wire/cbor.ts';

export interface RelyingParty {
  /** The host name of the server. */
  readonly id: string;
  /** Its origin. Nothing else may have asked the authenticator. */
  readonly origin: string;
}

export interface Registered {
  readonly id: string;
  readonly publicKey: JWK;
  readonly counter: number;
  readonly synced: boolean;
  readonly userVerified: boolean;
  readonly transports: readonly string[];
}

export interface Asserted {
  readonly counter: number;
  readonly userVerified: boolean;
  /** Whether the credential may be in more than one device. */
  readonly synced: boolean;
}

/** Longest credential id (WebAuthn L2 §4), and characters of an answer as JSON. */
const idBytes = 1023;
export const answerLength = 8192;

const userPresent = 0x01;
const userVerified = 0x04;
const backupEligible = 0x08;
const backupState = 0x10;
const credentialData = 0x40;
const extensionData = 0x80;

/** COSE algorithms that are offered: ES256, EdDSA, RS256. */
export const algorithms: readonly number[] = [-7, -8, -257];

interface Answer {
  readonly id: string;
  readonly clientData: Uint8Array;
  readonly response: Readonly<Record<string, unknown>>;
}

/** What `navigator.credentials` answered, as its toJSON() writes it; undefined where it is not of that form. */
export function parseAnswer(text: string): Answer | undefined {
  if (text.length > answerLength) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, type, response } = value as { id?: unknown; type?: unknown; response?: unknown };
  if (typeof id !== 'string' || type !== 'public-key' || typeof response !== 'object' || response === null) return undefined;
  const fields = response as Readonly<Record<string, unknown>>;
  const clientData = bytesOf(fields['clientDataJSON']);
  return clientData === undefined ? undefined : { id, clientData, response: fields };
}

/** §7.1. Undefined where anything does not fit. */
export function verifyRegistration(answer: Answer, party: RelyingParty, challenge: string): Registered | undefined {
  if (!clientDataFits(answer.clientData, 'webauthn.create', party, challenge)) return undefined;
  const object = bytesOf(answer.response['attestationObject']);
  const decoded = object === undefined ? undefined : decodeCbor(object);
  if (object === undefined || decoded === undefined || decoded.end !== object.length || !(decoded.value instanceof Map)) return undefined;
  const bytes: unknown = decoded.value.get('authData');
  const data = bytes instanceof Uint8Array ? parseAuthenticatorData(bytes, party) : undefined;
  if (data?.credential === undefined) return undefined;
  const { id, publicKey } = data.credential;
  const name = toText(id);
  if (name !== answer.id) return undefined;
  const { transports } = answer.response;
  return {
    id: name,
    publicKey,
    counter: data.counter,
    synced: (data.flags & backupEligible) !== 0,
    userVerified: (data.flags & userVerified) !== 0,
    transports: Array.isArray(transports) ? transports.filter((one) => typeof one === 'string' && /^[a-z-]{1,16}$/.test(one)).slice(0, 8) : [],
  };
}

/** §7.2, without the counter, which is the store's to compare. `userHandle` is the id that the credential was made for. */
export function verifyAssertion(
  answer: Answer,
  party: RelyingParty,
  challenge: string,
  known: { readonly publicKey: JWK; readonly userHandle: string },
): Asserted | undefined {
  if (!clientDataFits(answer.clientData, 'webauthn.get', party, challenge)) return undefined;
  const bytes = bytesOf(answer.response['authenticatorData']);
  const signature = bytesOf(answer.response['signature']);
  const handle = answer.response['userHandle'];
  if (bytes === undefined || signature === undefined) return undefined;
  if (handle !== undefined && handle !== null && handle !== toText(utf8(known.userHandle))) return undefined;
  const data = parseAuthenticatorData(bytes, party);
  const key = keyOf(known.publicKey);
  if (data === undefined || key === undefined) return undefined;
  const signed = concatBytes(bytes, sha256(answer.clientData));
  if (!verify(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', signed, key, signature)) return undefined;
  return { counter: data.counter, userVerified: (data.flags & userVerified) !== 0, synced: (data.flags & backupEligible) !== 0 };
}

function clientDataFits(bytes: Uint8Array, type: string, { origin }: RelyingParty, challenge: string): boolean {
  let data: unknown;
  try {
    data = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return false;
  }
  if (typeof data !== 'object' || data === null) return false;
  const said = data as Readonly<Record<string, unknown>>;
  const asked = said['challenge'];
  return (
    said['type'] === type &&
    said['origin'] === origin &&
    said['crossOrigin'] !== true &&
    typeof asked === 'string' &&
    challenge !== '' &&
    equalBytes(utf8(asked), utf8(challenge))
  );
}

interface AuthenticatorData {
  readonly flags: number;
  readonly counter: number;
  readonly credential: { readonly id: Uint8Array; readonly publicKey: JWK } | undefined;
}

/** §6.1. Undefined unless it is for us, somebody was there, and every byte is accounted for. */
function parseAuthenticatorData(bytes: Uint8Array, { id }: RelyingParty): AuthenticatorData | undefined {
  if (bytes.length < 37 || !equalBytes(bytes.subarray(0, 32), sha256(utf8(id)))) return undefined;
  const flags = bytes[32] ?? 0;
  const counter = asBuffer(bytes).readUInt32BE(33);
  if ((flags & userPresent) === 0 || ((flags & backupState) !== 0 && (flags & backupEligible) === 0)) return undefined;
  let at = 37;
  let credential: AuthenticatorData['credential'];
  if ((flags & credentialData) !== 0) {
    if (bytes.length < at + 18) return undefined;
    const length = asBuffer(bytes).readUInt16BE(at + 16);
    const begin = at + 18;
    const key = length > 0 && length <= idBytes && begin + length < bytes.length ? decodeCbor(bytes, begin + length) : undefined;
    const publicKey = key === undefined ? undefined : jwkOf(key.value);
    if (key === undefined || publicKey === undefined) return undefined;
    credential = { id: bytes.subarray(begin, begin + length), publicKey };
    at = key.end;
  }
  if ((flags & extensionData) !== 0) {
    const extensions = decodeCbor(bytes, at);
    if (extensions === undefined || !(extensions.value instanceof Map)) return undefined;
    at = extensions.end;
  }
  return at === bytes.length ? { flags, counter, credential } : undefined;
}

/** A COSE key (RFC 9053) of one of the algorithms that are offered, as a JWK. */
function jwkOf(value: CborValue): JWK | undefined {
  if (!(value instanceof Map)) return undefined;
  const field = (label: number): unknown => value.get(label);
  const text = (label: number, length?: number): string | undefined => {
    const bytes = field(label);
    return bytes instanceof Uint8Array && (length === undefined || bytes.length === length) ? toText(bytes) : undefined;
  };
  const jwk = ((): JWK | undefined => {
    switch (field(3)) {
      case -7: {
        const [x, y] = [text(-2, 32), text(-3, 32)];
        return field(1) === 2 && field(-1) === 1 && x !== undefined && y !== undefined ? { kty: 'EC', crv: 'P-256', x, y } : undefined;
      }
      case -8: {
        const x = text(-2, 32);
        return field(1) === 1 && field(-1) === 6 && x !== undefined ? { kty: 'OKP', crv: 'Ed25519', x } : undefined;
      }
      case -257: {
        const [n, e] = [text(-1), text(-2)];
        return field(1) === 3 && n !== undefined && n.length >= 342 && n.length <= 684 && e !== undefined ? { kty: 'RSA', n, e } : undefined;
      }
      default:
        return undefined;
    }
  })();
  return jwk !== undefined && keyOf(jwk) !== undefined ? jwk : undefined;
}

/** A point that is not on its curve is no key. */
function keyOf(jwk: JWK): KeyObject | undefined {
  try {
    return createPublicKey({ key: jwk as never, format: 'jwk' });
  } catch {
    return undefined;
  }
}

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash('sha256').update(bytes).digest();
}

function toText(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('base64url');
}

/** Base64url without padding, in its one spelling. */
function bytesOf(value: unknown): Uint8Array | undefined {
  if (typeof value !== 'string' || !/^[\w-]+$/.test(value)) return undefined;
  const bytes = Buffer.from(value, 'base64url');
  return bytes.toString('base64url') === value ? new Uint8Array(bytes) : undefined;
}
