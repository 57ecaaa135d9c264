// One certificate with its key, read and checked before anything is served with it.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { canonicalHost } from '../http/host.ts';

export interface Certificate {
  /** Where it came from, for status and log. */
  readonly source: string;
  readonly certPem: string;
  readonly keyPem: string;
  /** Canonical names, wildcards as `*.example.org`. */
  readonly names: readonly string[];
  readonly notBefore: number;
  readonly notAfter: number;
  /** SHA-256 of the leaf, in hexadecimal: equal for an unchanged certificate. */
  readonly fingerprint: string;
}

/** Checks a pair; the reason in plain words where it cannot be used. An expired one can: the visitor's browser is the one to say so. */
export function readCertificate(source: string, certPem: string, keyPem: string): Certificate | { readonly problem: string } {
  let leaf: X509Certificate;
  try {
    leaf = new X509Certificate(certPem);
  } catch {
    return { problem: 'the certificate file holds no PEM certificate' };
  }
  try {
    if (!leaf.checkPrivateKey(createPrivateKey(keyPem))) return { problem: 'the key does not belong to the certificate' };
  } catch {
    return { problem: 'the key file holds no unencrypted PEM private key' };
  }
  const names = dnsNames(leaf);
  if (names.length === 0) return { problem: 'the certificate names no host' };
  return {
    source,
    certPem,
    keyPem,
    names,
    notBefore: Date.parse(leaf.validFrom),
    notAfter: Date.parse(leaf.validTo),
    fingerprint: leaf.fingerprint256.replaceAll(':', '').toLowerCase(),
  };
}

/** DNS names of the subject alternative name; the common name counts for nothing (RFC 9525 §2). */
function dnsNames(leaf: X509Certificate): string[] {
  const names: string[] = [];
  for (const part of (leaf.subjectAltName ?? '').split(', ')) {
    if (!part.startsWith('DNS:')) continue;
    const name = part.slice(4);
    const wild = name.startsWith('*.');
    const canonical = canonicalHost(wild ? name.slice(2) : name);
    if (canonical !== undefined) names.push(wild ? `*.${canonical}` : canonical);
  }
  return names;
}
