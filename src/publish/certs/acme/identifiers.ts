// How a certificate is named towards its authority's renewal information.
import { X509Certificate } from 'node:crypto';
import { contextTag, DER, inside, readCertificateParts, readDer } from '#wire/der.ts';

const authorityKeyIdentifier = '2.5.29.35';

/** The unique identifier of RFC 9773 §4.1: key identifier and serial number. Undefined where the certificate has no key identifier. */
export function certificateId(certificate: X509Certificate): string | undefined {
  const parts = readCertificateParts(certificate.raw);
  const extension = parts?.extensions.get(authorityKeyIdentifier);
  const fields = extension === undefined ? undefined : inside(readDer(extension)?.[0], DER.sequence);
  const keyId = fields?.find(({ tag }) => tag === contextTag(0, false));
  if (parts === undefined || keyId === undefined) return undefined;
  return `${Buffer.from(keyId.content).toString('base64url')}.${Buffer.from(parts.serial).toString('base64url')}`;
}

/** As `certificateId`, of a PEM chain's first certificate; undefined for none. */
export function certificateIdOf(chainPem: string | undefined): string | undefined {
  return chainPem === undefined ? undefined : certificateId(new X509Certificate(chainPem));
}
