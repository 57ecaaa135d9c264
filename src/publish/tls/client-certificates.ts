// Certificates of clients: which authorities a host believes, and what a connection has proven by the handshake. One rule is one host's: a
// connection carries the key of the rule that it was made under, and is good for no other.
import { createHash, X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { ClientCertificateRule } from '#model/client-certificate.ts';

/** A rule that can be kept. */
export interface ClientTrust {
  /** Equal for equal rules. */
  readonly key: string;
  readonly ca: readonly string[];
  readonly required: boolean;
  /** Whose a certificate is has to be asked of the control plane. */
  readonly account: boolean;
}

/** What can be made of a rule. Where there is a problem nobody gets in (attack row T-10). */
export type CompiledClientRule = ClientTrust | { readonly problem: string };

/** A certificate that OpenSSL has verified up to one of the rule's authorities, for a client and for now. */
export interface ClientCertificate {
  /** As RFC 4514 has it, the most specific part first. */
  readonly subject: string;
  /** The subject's common name; empty where it has none. */
  readonly commonName: string;
  /** Of the whole certificate: SHA-256 in lower-case hexadecimal. */
  readonly fingerprint: string;
  /** E-mail addresses among its alternative names. */
  readonly emails: readonly string[];
}

/** What a handshake has shown of the client. */
export interface ShownCertificate {
  /** The key of the rule that the handshake was made under. */
  readonly trustKey: string;
  /** Undefined where the client has shown none and the rule does not need one. */
  readonly certificate: ClientCertificate | undefined;
}

/** Worked out once for each version of a service. */
export function compileClientRule({ ca, required, account = false }: ClientCertificateRule): CompiledClientRule {
  const bundle = ca.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (bundle.length === 0) return { problem: 'there are no authorities for client certificates, so nobody is let in' };
  try {
    for (const pem of bundle) void new X509Certificate(pem);
  } catch {
    return { problem: 'an authority for client certificates cannot be read, so nobody is let in' };
  }
  const key = createHash('sha256')
    .update(JSON.stringify([bundle, required, account]))
    .digest('base64url');
  return { key, ca: bundle, required, account };
}

/** What the client of a finished handshake has shown, or why it may not go on. The handshake has to have asked for it under `trust`. */
export function shownCertificate(socket: TLSSocket, trust: ClientTrust): ShownCertificate | { readonly fault: string } {
  // One object without the chain: the chain of each connection, asked for by `getPeerCertificate(true)`, once cost memory that nobody got back (T-18).
  const peer = socket.getPeerX509Certificate();
  if (peer === undefined) return trust.required ? { fault: 'no certificate' } : { trustKey: trust.key, certificate: undefined };
  const fault = verifyFault(socket);
  return fault === undefined ? { trustKey: trust.key, certificate: readCertificate(peer) } : { fault };
}

/** OpenSSL's verdict. Only node:tls's own server tells it in public, and what cannot be asked is no yes. */
function verifyFault(socket: TLSSocket): string | undefined {
  const { _handle: handle } = socket as unknown as {
    readonly _handle?: { verifyError?(): (Error & { readonly code?: string }) | null | undefined } | null;
  };
  if (typeof handle?.verifyError !== 'function') return 'the verdict cannot be asked';
  const error = handle.verifyError();
  return error === null || error === undefined ? undefined : (error.code ?? error.message);
}

function readCertificate(peer: X509Certificate): ClientCertificate {
  const parts = peer.subject?.split('\n').filter((part) => part !== '') ?? [];
  const commonName = parts.findLast((part) => part.startsWith('CN='))?.slice(3) ?? '';
  const emails = (peer.subjectAltName ?? '').split(', ').flatMap((name) => (/^email:[^"\s,]+$/.test(name) ? [name.slice(6)] : []));
  return {
    subject: parts.toReversed().join(','),
    commonName,
    fingerprint: peer.fingerprint256.replaceAll(':', '').toLowerCase(),
    emails,
  };
}
