// DER (X.690), as far as certificates and OCSP need it: values are read strictly by tag and length, and written shortest.

export const DER = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  generalizedTime: 0x18,
  sequence: 0x30,
} as const;

/** Context-specific tags: [n] EXPLICIT or constructed, and [n] IMPLICIT primitive. */
export function contextTag(number: number, constructed: boolean): number {
  return (constructed ? 0xa0 : 0x80) | number;
}

export interface DerValue {
  readonly tag: number;
  readonly content: Uint8Array;
  /** Tag and length included. */
  readonly whole: Uint8Array;
}

/** The values that stand one after another; undefined where the bytes are not exactly such a row. At most 1,000. */
export function readDer(bytes: Uint8Array): readonly DerValue[] | undefined {
  const values: DerValue[] = [];
  let at = 0;
  while (at < bytes.length) {
    const tag = bytes[at] ?? 0;
    let length = bytes[at + 1];
    let head = 2;
    if ((tag & 0x1f) === 0x1f || length === undefined || values.length >= 1_000) return undefined;
    if (length >= 0x80) {
      const octets = length & 0x7f;
      if (octets === 0 || octets > 4 || at + 2 + octets > bytes.length) return undefined;
      length = 0;
      for (let i = 0; i < octets; i++) length = length * 256 + (bytes[at + 2 + i] ?? 0);
      head += octets;
    }
    if (at + head + length > bytes.length) return undefined;
    values.push({ tag, content: bytes.subarray(at + head, at + head + length), whole: bytes.subarray(at, at + head + length) });
    at += head + length;
  }
  return values;
}

/** What stands in a constructed value of that tag; undefined for any other. */
export function inside(value: DerValue | undefined, tag: number): readonly DerValue[] | undefined {
  return value?.tag === tag ? readDer(value.content) : undefined;
}

export function writeDer(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts);
  const length = content.length;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Uint8Array.from([tag, ...size]), content]);
}

/** An object identifier's content as dotted text. */
export function readOid(content: Uint8Array): string {
  const arcs: number[] = [];
  let arc = 0;
  for (const byte of content) {
    arc = arc * 128 + (byte & 0x7f);
    if (byte < 0x80) {
      if (arcs.length === 0) arcs.push(Math.min(2, Math.floor(arc / 40)), arc - 40 * Math.min(2, Math.floor(arc / 40)));
      else arcs.push(arc);
      arc = 0;
    }
  }
  return arcs.join('.');
}

export function writeOid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const groups = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) groups.unshift((left & 0x7f) | 0x80);
    return groups;
  });
  return writeDer(DER.oid, Uint8Array.from(bytes));
}

/** GeneralizedTime as `YYYYMMDDHHMMSSZ` in milliseconds since 1970; undefined for any other form. */
export function readTime(value: DerValue | undefined): number | undefined {
  if (value?.tag !== DER.generalizedTime) return undefined;
  const match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(Buffer.from(value.content).toString('latin1'));
  if (match === null) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1).map(Number);
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

/** The parts of a certificate (RFC 5280 §4.1) that are asked for here. */
export interface CertificateParts {
  /** The integer's content octets. */
  readonly serial: Uint8Array;
  /** The issuer's and the subject's name, each whole as DER. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** The bits of the public key, without the count of unused ones. */
  readonly publicKey: Uint8Array;
  /** Extension values by object identifier. */
  readonly extensions: ReadonlyMap<string, Uint8Array>;
}

/** Undefined where the bytes are no certificate of version 3. */
export function readCertificateParts(der: Uint8Array): CertificateParts | undefined {
  const certificate = inside(readDer(der)?.[0], DER.sequence);
  const fields = inside(certificate?.[0], DER.sequence);
  if (fields === undefined || fields[0]?.tag !== contextTag(0, true)) return undefined;
  const [, serial, , issuer, , subject, keyInfo, ...rest] = fields;
  const key = inside(keyInfo, DER.sequence)?.[1];
  if (serial?.tag !== DER.integer || issuer === undefined || subject === undefined || key?.tag !== DER.bitString) return undefined;
  const extensions = new Map<string, Uint8Array>();
  const list =
    inside(
      inside(
        rest.find(({ tag }) => tag === contextTag(3, true)),
        contextTag(3, true),
      )?.[0],
      DER.sequence,
    ) ?? [];
  for (const extension of list) {
    const parts = inside(extension, DER.sequence) ?? [];
    const id = parts[0];
    const value = parts.at(-1);
    if (id?.tag === DER.oid && value?.tag === DER.octetString) extensions.set(readOid(id.content), value.content);
  }
  return { serial: serial.content, issuer: issuer.whole, subject: subject.whole, publicKey: key.content.subarray(1), extensions };
}
