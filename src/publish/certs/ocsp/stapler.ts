// OCSP stapling (RFC 6066 §8): for certificates that name a responder, its answer is fetched, checked, kept, renewed, and handed to handshakes
// that ask for it. An answer that has expired is never given out.
import { createHash, verify, X509Certificate } from 'node:crypto';
import { createServer, type Server } from 'node:tls';
import { request } from 'undici';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { DER, inside, readCertificateParts, readDer, readOid } from '#wire/der.ts';
import { encodeOcspRequest, readOcspAnswer, type OcspAnswer, type OcspCertificateId } from '#wire/ocsp.ts';
import type { Certificate } from '../certificate.ts';
import { OCSP_BYTES, OCSP_CALL_MS, OCSP_FIRST_WAIT_MS, OCSP_RETRY_MS, OCSP_SKEW_MS, OCSP_UNDATED_MS } from './constants.ts';

/** What an OCSP responder is asked about; undefined for certificates that name none, or whose issuer is not in the chain. */
interface Subject {
  readonly url: string;
  readonly id: OcspCertificateId;
  readonly issuer: X509Certificate;
  /** RFC 7633: clients that know it refuse a handshake without an answer. */
  readonly mustStaple: boolean;
}

/** Where a certificate's answer stands. */
interface Staple {
  readonly subject: Subject;
  bytes: Buffer | undefined;
  until: number;
  fetching: Promise<void>;
  timer: Timer | undefined;
  /** Since the last fetch; what nobody uses any more is forgotten. */
  used: boolean;
}

export interface StaplerDeps {
  readonly clock: Clock;
  readonly log: Logger;
}

const authorityInfoAccess = '1.3.6.1.5.5.7.1.1';
const ocspMethod = '1.3.6.1.5.5.7.48.1';
const tlsFeature = '1.3.6.1.5.5.7.1.24';
const ocspSigning = '1.3.6.1.5.5.7.3.9';
/** Signature algorithms (RFC 5758, RFC 8017) and their digests; SHA-1 is not among them. */
const digests: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
};

export class Stapler {
  readonly #deps: StaplerDeps;
  readonly #staples = new Map<Certificate, Staple>();
  /** Null for certificates that name no responder. */
  readonly #servers = new WeakMap<Certificate, Server | null>();
  readonly #stopping = new AbortController();

  constructor(deps: StaplerDeps) {
    this.#deps = deps;
  }

  /**
   * What node:tls asks for the answer when a client wants one: it knows only servers, so each certificate that names a responder has one, which never
   * listens. Undefined for other certificates.
   */
  server(certificate: Certificate): Server | undefined {
    let server = this.#servers.get(certificate);
    if (server !== null) this.#follow(certificate);
    if (server === undefined) {
      server = this.#staples.has(certificate) ? createServer() : null;
      server?.on('OCSPRequest', (_certificate, _issuer, done) => {
        void this.staple(certificate).then((answer) => done(null, answer ?? null));
      });
      this.#servers.set(certificate, server);
    }
    return server ?? undefined;
  }

  /** Its answer is fetched from here on. */
  #follow(certificate: Certificate): void {
    const known = this.#staples.get(certificate);
    if (known !== undefined) known.used = true;
    const subject = known !== undefined || this.#stopping.signal.aborted ? undefined : subjectOf(certificate);
    if (subject === undefined) return;
    const staple: Staple = { subject, bytes: undefined, until: 0, fetching: Promise.resolve(), timer: undefined, used: true };
    this.#staples.set(certificate, staple);
    staple.fetching = this.#refresh(certificate, staple);
  }

  /** The answer for a handshake now; the first handshakes wait a little for the first answer. Never rejects. */
  async staple(certificate: Certificate): Promise<Buffer | undefined> {
    const staple = this.#staples.get(certificate);
    if (staple === undefined) return undefined;
    if (staple.bytes === undefined) {
      const waited = Promise.withResolvers<void>();
      const timer = this.#deps.clock.after(OCSP_FIRST_WAIT_MS, waited.resolve);
      await Promise.race([staple.fetching, waited.promise]);
      timer.cancel();
    }
    return staple.until > this.#deps.clock.wall() ? staple.bytes : undefined;
  }

  close(): void {
    this.#stopping.abort();
    for (const { timer } of this.#staples.values()) timer?.cancel();
    this.#staples.clear();
  }

  async #refresh(certificate: Certificate, staple: Staple): Promise<void> {
    const { clock, log } = this.#deps;
    let next = OCSP_RETRY_MS;
    try {
      const bytes = await this.#ask(staple.subject);
      const checked = checkAnswer(bytes, staple.subject, clock.wall());
      if ('problem' in checked) throw new TypeError(checked.problem);
      staple.bytes = bytes;
      staple.until = checked.until;
      // In the middle of its validity, so that half of it is left for a responder that is away.
      next = Math.max(OCSP_RETRY_MS, (checked.until - clock.wall()) / 2);
    } catch (error) {
      if (this.#stopping.signal.aborted) return;
      const lost = staple.subject.mustStaple && staple.until <= clock.wall();
      log.warn(lost ? 'no OCSP answer for a certificate that demands one: visitors may refuse it' : 'no OCSP answer', {
        names: certificate.names,
        responder: staple.subject.url,
        reason: describeError(error),
      });
    }
    if (this.#staples.get(certificate) !== staple) return;
    staple.timer = clock.after(Math.min(next, 86_400_000), () => {
      if (staple.used) staple.fetching = this.#refresh(certificate, staple);
      else this.#staples.delete(certificate);
      staple.used = false;
    });
  }

  async #ask({ url, id }: Subject): Promise<Buffer> {
    const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(OCSP_CALL_MS)]);
    const answer = await request(url, {
      method: 'POST',
      headers: { 'content-type': 'application/ocsp-request' },
      body: Buffer.from(encodeOcspRequest(id)),
      signal,
    });
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of answer.body as AsyncIterable<Buffer>) {
      size += part.length;
      if (size > OCSP_BYTES) throw new TypeError('the answer is too large');
      parts.push(part);
    }
    if (answer.statusCode !== 200) throw new TypeError(`the responder answered ${answer.statusCode}`);
    return Buffer.concat(parts);
  }
}

function subjectOf({ certPem }: Certificate): Subject | undefined {
  const [leaf, issuer] = [...certPem.matchAll(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)].map(
    ([text]) => new X509Certificate(text),
  );
  const parts = leaf === undefined ? undefined : readCertificateParts(leaf.raw);
  const issuerParts = issuer === undefined ? undefined : readCertificateParts(issuer.raw);
  const access = parts?.extensions.get(authorityInfoAccess);
  if (parts === undefined || issuer === undefined || issuerParts === undefined || access === undefined) return undefined;
  let url: string | undefined;
  for (const entry of inside(readDer(access)?.[0], DER.sequence) ?? []) {
    const [method, place] = inside(entry, DER.sequence) ?? [];
    // uniformResourceIdentifier is [6] in GeneralName.
    if (method?.tag === DER.oid && readOid(method.content) === ocspMethod && place?.tag === 0x86)
      url ??= Buffer.from(place.content).toString('latin1');
  }
  if (url === undefined || !/^https?:\/\//.test(url) || !URL.canParse(url)) return undefined;
  const sha1 = (bytes: Uint8Array): Buffer => createHash('sha1').update(bytes).digest();
  const id = { nameHash: sha1(parts.issuer), keyHash: sha1(issuerParts.publicKey), serial: parts.serial };
  return { url, id, issuer, mustStaple: parts.extensions.has(tlsFeature) };
}

/** Until when the answer is good, or why it is not. */
function checkAnswer(bytes: Uint8Array, { id, issuer }: Subject, now: number): { readonly until: number } | { readonly problem: string } {
  const answer = readOcspAnswer(bytes, id);
  if (answer === undefined) return { problem: 'it is no answer about this certificate' };
  if (answer.status !== 'good') return { problem: `the certificate is ${answer.status}` };
  const until = answer.nextUpdate ?? answer.thisUpdate + OCSP_UNDATED_MS;
  if (answer.thisUpdate > now + OCSP_SKEW_MS || until <= now) return { problem: 'it is not from now' };
  return isSigned(answer, issuer, now) ? { until } : { problem: 'it is not signed by the issuer, nor by whom the issuer named' };
}

/** RFC 6960 §4.2.2.2: the issuer itself, or a certificate that it issued for this. */
function isSigned({ signed, algorithm, signature, certificates }: OcspAnswer, issuer: X509Certificate, now: number): boolean {
  const digest = digests[algorithm];
  if (digest === undefined) return false;
  try {
    const delegates = certificates
      .map((der) => new X509Certificate(der))
      .filter(
        (one) =>
          one.keyUsage?.includes(ocspSigning) && one.verify(issuer.publicKey) && Date.parse(one.validFrom) <= now && Date.parse(one.validTo) > now,
      );
    return [issuer, ...delegates].some(({ publicKey }) => verify(digest, signed, publicKey, signature));
  } catch {
    return false;
  }
}
