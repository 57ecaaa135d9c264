// A certificate authority for one machine, made on the first start and kept: so that TLS is real before a public name is.
import { webcrypto } from 'node:crypto';
import { join } from 'node:path';
import 'reflect-metadata'; // @peculiar/x509's container asks for it
import * as x509 from '@peculiar/x509';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';

/** Validity of the authority and of what it issues, days; leaves are renewed at a start within the last 30. */
const caDays = 3_650;
const leafDays = 365;
const renewBeforeDays = 30;
const dayMs = 86_400_000;
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export interface LocalCa {
  readonly certFile: string;
  readonly certPem: string;
  /** Makes sure that a certificate for these names stands at the two files, and renews it where it is old or the names differ. */
  ensure(names: readonly string[], certFile: string, keyFile: string): Promise<void>;
}

/** Opens the authority kept in `directory`, or makes it there; its key is readable by its owner only. */
export async function openLocalCa(directory: string): Promise<LocalCa> {
  const certFile = join(directory, 'ca.pem');
  const keyFile = join(directory, 'ca-key.pem');
  const kept = await load(certFile, keyFile);
  const authority = kept ?? (await createAuthority(certFile, keyFile));
  return {
    certFile,
    certPem: authority.certificate.toString('pem'),
    async ensure(names, leafCertFile, leafKeyFile) {
      const present = await readFileIfThere(leafCertFile);
      if (present !== undefined && (await isUsable(present, names, authority.certificate))) return;
      const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
      const certificate = await x509.X509CertificateGenerator.create({
        serialNumber: serialNumber(),
        subject: `CN=${names[0] ?? 'localhost'}`,
        issuer: authority.certificate.subject,
        ...validity(leafDays),
        signingAlgorithm: algorithm,
        publicKey: keys.publicKey,
        signingKey: authority.privateKey,
        extensions: [
          new x509.BasicConstraintsExtension(false, undefined, true),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
          new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
          new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns', value }))),
          await x509.AuthorityKeyIdentifierExtension.create(authority.certificate.publicKey),
        ],
      });
      await writeFileAtomic(leafKeyFile, await exportKey(keys.privateKey));
      await writeFileAtomic(leafCertFile, `${certificate.toString('pem')}\n`);
    },
  };
}

interface Authority {
  readonly certificate: x509.X509Certificate;
  readonly privateKey: webcrypto.CryptoKey;
}

async function load(certFile: string, keyFile: string): Promise<Authority | undefined> {
  const cert = await readFileIfThere(certFile);
  const key = await readFileIfThere(keyFile);
  if (cert === undefined || key === undefined) return undefined;
  const der = x509.PemConverter.decodeFirst(key);
  const privateKey = await webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
  return { certificate: new x509.X509Certificate(cert), privateKey };
}

async function createAuthority(certFile: string, keyFile: string): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: 'CN=Meshgate local CA',
    ...validity(caDays),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  await writeFileAtomic(keyFile, await exportKey(keys.privateKey));
  await writeFileAtomic(certFile, `${certificate.toString('pem')}\n`, 0o644);
  return { certificate, privateKey: keys.privateKey };
}

async function isUsable(pem: string, names: readonly string[], authority: x509.X509Certificate): Promise<boolean> {
  const certificate = new x509.X509Certificate(pem);
  const alternative = certificate.getExtension(x509.SubjectAlternativeNameExtension)?.names.items.map(({ value }) => value) ?? [];
  const fresh = certificate.notAfter.getTime() - Date.now() > renewBeforeDays * dayMs;
  return fresh && names.every((name) => alternative.includes(name)) && (await certificate.verify({ publicKey: authority.publicKey }));
}

/** A positive 126-bit serial number (RFC 5280 §4.1.2.2). */
function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return Buffer.from(bytes).toString('hex');
}

/** From an hour ago, so that a clock that is a little behind accepts it. */
function validity(days: number): { readonly notBefore: Date; readonly notAfter: Date } {
  return { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + days * dayMs) };
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`;
}
