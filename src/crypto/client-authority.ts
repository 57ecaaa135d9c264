// The account's own authority for TLS client certificates: X.509 as RFC 5280 has it, with keys of P-256.
import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, webcrypto } from 'node:crypto';
import 'reflect-metadata'; // @peculiar/x509's container asks for it
import * as x509 from '@peculiar/x509';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** PEM texts. The key is PKCS #8 and secret. */
export interface ClientAuthority {
  readonly certPem: string;
  readonly keyPem: string;
}

export interface ClientCertificateRequest {
  /** SPKI; see `readClientKey`. */
  readonly publicKey: KeyObject;
  readonly commonName: string;
  /** A visible ASCII address; undefined where the holder has none. */
  readonly email: string | undefined;
  readonly uris: readonly string[];
  /** Wall-clock milliseconds. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** Makes an authority that signs certificates, and no further authorities, between the two moments. */
export async function createClientAuthority(commonName: string, notBefore: number, notAfter: number): Promise<ClientAuthority> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [commonName] }],
    notBefore: new Date(notBefore),
    notAfter: new Date(notAfter),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const key = x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
  return { certPem: `${certificate.toString('pem')}\n`, keyPem: `${key}\n` };
}

/** The key of a PEM text, or undefined where it is none that a client may have: P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits. */
export function readClientKey(pem: string): KeyObject | undefined {
  if (!/^-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----\s*$/.test(pem)) return undefined;
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch {
    return undefined;
  }
  const { namedCurve = '', modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  const { asymmetricKeyType: type } = key;
  const good =
    type === 'ed25519' ||
    (type === 'ec' && ['prime256v1', 'secp384r1'].includes(namedCurve)) ||
    (type === 'rsa' && modulusLength >= 2048 && modulusLength <= 4096);
  return good ? key : undefined;
}

/** A certificate for TLS clients, PEM. */
export async function issueClientCertificate(authority: ClientAuthority, request: ClientCertificateRequest): Promise<string> {
  const { publicKey, commonName, email, uris, notBefore, notAfter } = request;
  const issuer = new x509.X509Certificate(authority.certPem);
  const der = createPrivateKey(authority.keyPem).export({ type: 'pkcs8', format: 'der' });
  const signingKey = await webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [commonName] }],
    issuer: issuer.subject,
    notBefore: new Date(notBefore),
    notAfter: new Date(notAfter),
    signingAlgorithm: algorithm,
    publicKey: new x509.PublicKey(publicKey.export({ type: 'spki', format: 'der' })),
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension([
        ...(email === undefined ? [] : [{ type: 'email' as const, value: email }]),
        ...uris.map((value) => ({ type: 'url' as const, value })),
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return `${certificate.toString('pem')}\n`;
}

/** A positive 126-bit serial number (RFC 5280 §4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
}
