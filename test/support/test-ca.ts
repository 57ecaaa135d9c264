// A private certificate authority for tests: ECDSA P-256, valid for an hour around now. Nothing of it is written to disk.
import 'reflect-metadata';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { randomBytes, type webcrypto } from 'node:crypto';
import { isIP } from 'node:net';

export interface TestCa {
  readonly caPem: string;
  /** A certificate for server and client for the names; IP addresses may be among them. `ended`: its time is over. */
  issue(names: readonly string[], options?: { readonly ended?: boolean }): Promise<{ readonly certPem: string; readonly keyPem: string }>;
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const hourMs = 3_600_000;

export async function createTestCa(): Promise<TestCa> {
  const keys = await newKeys();
  const name = 'CN=Meshgate test CA';
  const validity = { notBefore: new Date(Date.now() - hourMs), notAfter: new Date(Date.now() + hourMs) };
  const root = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name,
    ...validity,
    keys,
    signingAlgorithm: algorithm,
    extensions: [new BasicConstraintsExtension(true, 0, true), new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true)],
  });

  return {
    caPem: root.toString('pem'),
    async issue(names, { ended = false } = {}) {
      const own = await newKeys();
      const certificate = await X509CertificateGenerator.create({
        serialNumber: serial(),
        subject: `CN=${(names[0] ?? 'localhost').replaceAll(/[^a-z0-9.-]/gi, '_')}`,
        issuer: name,
        ...validity,
        ...(ended ? { notAfter: new Date(Date.now() - 60_000) } : {}),
        publicKey: own.publicKey,
        signingKey: keys.privateKey,
        signingAlgorithm: algorithm,
        extensions: [
          new BasicConstraintsExtension(false),
          new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
          new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
          new SubjectAlternativeNameExtension(names.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value }))),
        ],
      });
      const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', own.privateKey)).toString('base64');
      const lines = pkcs8.match(/.{1,64}/g) ?? [];
      return { certPem: certificate.toString('pem'), keyPem: `-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n` };
    },
  };
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

/** A positive number of 16 octets, as RFC 5280 §4.1.2.2 wants it. */
function serial(): string {
  return `01${randomBytes(15).toString('hex')}`;
}
