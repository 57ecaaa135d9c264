// OCSP (RFC 6960): a question about one certificate, and the parts of its answer. Who signed it is checked by the caller.
import { contextTag, DER, inside, readDer, readOid, readTime, writeDer, writeOid } from './der.ts';

/** SHA-1, which every responder knows; it names the issuer here and secures nothing. */
const sha1Oid = '1.3.14.3.2.26';
const basicResponseOid = '1.3.6.1.5.5.7.48.1.1';

/** Which certificate: SHA-1 of its issuer's name and key, and its serial number's octets. */
export interface OcspCertificateId {
  readonly nameHash: Uint8Array;
  readonly keyHash: Uint8Array;
  readonly serial: Uint8Array;
}

export interface OcspAnswer {
  readonly status: 'good' | 'revoked' | 'unknown';
  /** Wall-clock milliseconds; `nextUpdate` is undefined where newer word is always to be had. */
  readonly thisUpdate: number;
  readonly nextUpdate: number | undefined;
  /** What is signed, how, and the signature. */
  readonly signed: Uint8Array;
  readonly algorithm: string;
  readonly signature: Uint8Array;
  /** DER of the certificates that came along. */
  readonly certificates: readonly Uint8Array[];
}

/** RFC 6960 §4.1.1, unsigned and without a nonce: responders give out answers made before. */
export function encodeOcspRequest({ nameHash, keyHash, serial }: OcspCertificateId): Uint8Array {
  const algorithm = writeDer(DER.sequence, writeOid(sha1Oid), writeDer(DER.null));
  const certificate = writeDer(
    DER.sequence,
    algorithm,
    writeDer(DER.octetString, nameHash),
    writeDer(DER.octetString, keyHash),
    writeDer(DER.integer, serial),
  );
  const list = writeDer(DER.sequence, writeDer(DER.sequence, certificate));
  return writeDer(DER.sequence, writeDer(DER.sequence, list));
}

/** The answer about exactly this certificate; undefined where the bytes hold none. */
export function readOcspAnswer(bytes: Uint8Array, id: OcspCertificateId): OcspAnswer | undefined {
  const response = inside(readDer(bytes)?.[0], DER.sequence);
  // OCSPResponseStatus: 0 is successful.
  if (response?.[0]?.tag !== DER.enumerated || response[0].content.length !== 1 || response[0].content[0] !== 0) return undefined;
  const [type, octets] = inside(inside(response[1], contextTag(0, true))?.[0], DER.sequence) ?? [];
  if (type?.tag !== DER.oid || readOid(type.content) !== basicResponseOid || octets?.tag !== DER.octetString) return undefined;
  const [data, algorithm, signature, extra] = inside(readDer(octets.content)?.[0], DER.sequence) ?? [];
  const oid = inside(algorithm, DER.sequence)?.[0];
  const fields = inside(data, DER.sequence);
  if (data === undefined || fields === undefined || oid?.tag !== DER.oid || signature?.tag !== DER.bitString || signature.content[0] !== 0)
    return undefined;
  // The version, [0], may stand first; responder and time come before the answers.
  const list = fields.find(({ tag }) => tag === DER.sequence);
  for (const single of inside(list, DER.sequence) ?? []) {
    const [about, status, thisUpdate, next] = inside(single, DER.sequence) ?? [];
    const [, nameHash, keyHash, serial] = inside(about, DER.sequence) ?? [];
    if (!same(nameHash?.content, id.nameHash) || !same(keyHash?.content, id.keyHash) || !same(serial?.content, id.serial)) continue;
    const from = readTime(thisUpdate);
    const until = next?.tag === contextTag(0, true) ? readTime(inside(next, contextTag(0, true))?.[0]) : undefined;
    if (from === undefined || status === undefined || (next?.tag === contextTag(0, true) && until === undefined)) return undefined;
    return {
      status: status.tag === contextTag(0, false) ? 'good' : status.tag === contextTag(1, true) ? 'revoked' : 'unknown',
      thisUpdate: from,
      nextUpdate: until,
      signed: data.whole,
      algorithm: readOid(oid.content),
      signature: signature.content.subarray(1),
      certificates: (inside(inside(extra, contextTag(0, true))?.[0], DER.sequence) ?? []).map(({ whole }) => whole),
    };
  }
  return undefined;
}

function same(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && a.length === b.length && a.every((byte, index) => byte === b[index]);
}
