// TLS contexts, made of certificates with the first handshake that asks for one: ten thousand certificates wait as text.
import { constants, hkdfSync, randomBytes } from 'node:crypto';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { Certificate } from '../certs/certificate.ts';
import { SECURE_CONTEXTS, TICKET_KEY_MS } from '../constants.ts';
import type { ClientTrust } from './client-certificates.ts';

/** What Node takes as the keys of tickets (RFC 5077 §4): name, HMAC key and AES key. */
const ticketKeyBytes = 48;

/**
 * The contexts in use, the longest unused one let go beyond `SECURE_CONTEXTS`. A handshake with a kept one costs no parsing. Session tickets
 * outlive that: their keys follow from one secret of the process and the certificate, so a ticket is good with a context that was made anew,
 * and never with another certificate. The secret is replaced every `TICKET_KEY_MS`; older tickets then cost a full handshake. Where clients have to
 * show a certificate there are no tickets: each connection proves it anew, and nothing that another host gave out is good there (attack row T-9).
 */
export class SecureContexts {
  /** In the order of use. */
  readonly #contexts = new Map<Certificate | string, SecureContext>();
  #secret = randomBytes(32);
  #secretSince: number | undefined;

  /** `now` in monotonic milliseconds. Throws where OpenSSL refuses the certificate. */
  get(certificate: Certificate, now: number, trust?: ClientTrust): SecureContext {
    this.#secretSince ??= now;
    if (now - this.#secretSince >= TICKET_KEY_MS) {
      this.#secret = randomBytes(32);
      this.#secretSince = now;
      this.#contexts.clear();
    }
    const key = trust === undefined ? certificate : `${certificate.fingerprint} ${trust.key}`;
    const known = this.#contexts.get(key);
    const context = known ?? this.#make(certificate, trust);
    if (known !== undefined) this.#contexts.delete(key);
    this.#contexts.set(key, context);
    for (const oldest of this.#contexts.keys()) {
      if (this.#contexts.size <= SECURE_CONTEXTS) break;
      this.#contexts.delete(oldest);
    }
    return context;
  }

  get size(): number {
    return this.#contexts.size;
  }

  #make({ certPem, keyPem, fingerprint }: Certificate, trust: ClientTrust | undefined): SecureContext {
    return createSecureContext({
      cert: certPem,
      key: keyPem,
      // With the public roots at hand OpenSSL would look for a chain to them in every handshake of a certificate that brings none.
      ca: trust === undefined ? [] : [...trust.ca],
      ticketKeys: Buffer.from(hkdfSync('sha256', this.#secret, fingerprint, `meshgate session tickets${trust?.key ?? ''}`, ticketKeyBytes)),
      minVersion: 'TLSv1.2',
      // Forward secrecy and authenticated encryption only, for what still speaks TLS 1.2.
      ciphers:
        'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305',
      honorCipherOrder: true,
      // A client of TLS 1.2 could have us do the costly half of a handshake again and again (attack row T-16).
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION | (trust === undefined ? 0 : constants.SSL_OP_NO_TICKET),
    });
  }
}
