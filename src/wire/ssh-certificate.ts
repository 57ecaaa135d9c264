// OpenSSH's keys and user certificates of Ed25519, as its PROTOCOL.certkeys and RFC 8709 describe them; the data types are RFC 4251 §5's.
import { concatBytes, fromBase64, toBase64, utf8 } from '#lib/bytes.ts';

const keyType = 'ssh-ed25519';
const certificateType = 'ssh-ed25519-cert-v01@openssh.com';
const keyBytes = 32;
const userCertificate = 1;

export interface SshUserCertificate {
  /** 32 random bytes: no two certificates are the same to whoever would forge one. */
  readonly nonce: Uint8Array;
  /** Of the holder, 32 bytes. */
  readonly publicKey: Uint8Array;
  readonly serial: bigint;
  /** What the server's log names the holder by. */
  readonly keyId: string;
  /** Names of users of the server; one at least, as none would mean all. */
  readonly principals: readonly string[];
  /** Unix seconds, from the first and before the second. */
  readonly validAfter: number;
  readonly validBefore: number;
  /** Such as `permit-pty`. */
  readonly extensions: readonly string[];
  /** Of the authority, 32 bytes. */
  readonly authority: Uint8Array;
}

/** The 32 bytes of an Ed25519 key in a line such as of id_ed25519.pub; undefined where it is none. */
export function parseSshKey(line: string): Uint8Array | undefined {
  const blob = fromBase64(/^ssh-ed25519 ([A-Za-z0-9+/=]{1,200})(?: [^\n]{0,200})?\n?$/.exec(line)?.[1] ?? '');
  const prefix = concatBytes(string(utf8(keyType)), uint32(keyBytes));
  if (blob?.length !== prefix.length + keyBytes || prefix.some((byte, i) => blob[i] !== byte)) return undefined;
  return blob.slice(prefix.length);
}

/** The line of a key, as in authorized_keys and TrustedUserCAKeys. */
export function formatSshKey(key: Uint8Array, comment: string): string {
  return `${keyType} ${toBase64(keyBlob(key))} ${comment}`;
}

/** The line of a certificate, as in id_ed25519-cert.pub. `sign` is the authority's Ed25519 signature of 64 bytes. */
export function formatSshCertificate(certificate: SshUserCertificate, sign: (bytes: Uint8Array) => Uint8Array, comment: string): string {
  const { nonce, publicKey, serial, keyId, principals, validAfter, validBefore, extensions, authority } = certificate;
  if (principals.length === 0) throw new TypeError('a certificate without principals is good for every user');
  const names = extensions.toSorted(); // they stand in the order of their names
  const body = concatBytes(
    string(utf8(certificateType)),
    string(nonce),
    string(publicKey),
    uint64(serial),
    uint32(userCertificate),
    string(utf8(keyId)),
    string(concatBytes(...principals.map((name) => string(utf8(name))))),
    uint64(BigInt(validAfter)),
    uint64(BigInt(validBefore)),
    string(new Uint8Array()), // no critical options
    string(concatBytes(...names.map((name) => concatBytes(string(utf8(name)), string(new Uint8Array()))))),
    string(new Uint8Array()), // reserved
    string(keyBlob(authority)),
  );
  const signature = string(concatBytes(string(utf8(keyType)), string(sign(body))));
  return `${certificateType} ${toBase64(concatBytes(body, signature))} ${comment}`;
}

function keyBlob(key: Uint8Array): Uint8Array {
  return concatBytes(string(utf8(keyType)), string(key));
}

function string(bytes: Uint8Array): Uint8Array {
  return concatBytes(uint32(bytes.length), bytes);
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function uint64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}
