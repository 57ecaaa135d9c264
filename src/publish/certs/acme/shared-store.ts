// The cluster's shared store over what the control plane offers. Certificates leave this process only in boxes, one for each gateway's key: the control
// plane says whose those keys are, as it says who is in the cluster, but what it stores reveals no private key.
import { randomBytes } from 'node:crypto';
import { openBox, sealBox } from '#crypto/box.ts';
import { X25519PrivateKey } from '#crypto/x25519.ts';
import { utf8 } from '#lib/bytes.ts';
import { errorCode } from '#lib/errors.ts';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import type { Clock } from '#lib/clock.ts';
import type { Logger } from '#lib/log.ts';
import type { CertificateExchange } from '#model/certificate-exchange.ts';
import { readCertificate } from '../certificate.ts';
import type { ClusterStore } from './cluster-store.ts';
import { NO_ANSWER_MS } from './constants.ts';
import { readKeptCertificate } from './kept.ts';
import type { KeptCertificate } from './types.ts';

/** `keyFile` keeps this gateway's key for the boxes, made at its first use. */
export async function openSharedStore(
  keyFile: string,
  exchange: CertificateExchange,
  { clock, log }: { readonly clock: Clock; readonly log: Logger },
): Promise<ClusterStore> {
  const ownPrivate = await openKey(keyFile);
  const ownPublic = new X25519PrivateKey(ownPrivate).publicBytes;
  let stock = false;

  return {
    async lease(names, expires, signal) {
      try {
        const answer = await exchange.lease(names, expires, ownPublic, signal);
        if (answer.kind !== 'certificate') return answer;
        const plain = openBox(answer.box, answer.senderKey, ownPrivate);
        const certificate = plain === undefined ? undefined : readKeptCertificate(Buffer.from(plain).toString('utf8'));
        if (certificate !== undefined && certificate.names.join(' ') === names.join(' ') && outlives(certificate, expires)) {
          return { kind: 'certificate', certificate };
        }
        log.warn('a certificate of another gateway cannot be opened, or is no better; it is ordered here', { names });
        return await askWithoutCopy(names, signal);
      } catch (error) {
        if (errorCode(error) !== 'RPC_UNIMPLEMENTED') throw error;
        if (!stock) log.warn('the control plane is a stock one: gateways of a cluster order certificates each for themselves');
        stock = true;
        return { kind: 'granted' };
      }
    },
    async release(names, signal) {
      if (!stock) await exchange.release(names, signal);
    },
    async present(names, answers, signal) {
      if (stock) return;
      await exchange.present(names, answers, signal);
      // A gateway that was asked a moment ago still believes that there is no answer.
      await new Promise<void>((resolve) => void clock.after(NO_ANSWER_MS, resolve));
    },
    async share(certificate, signal) {
      if (stock) return;
      const recipients = (await exchange.recipients(signal)).filter((key) => !Buffer.from(key).equals(ownPublic));
      const read = readCertificate('', certificate.chainPem, certificate.keyPem);
      if (recipients.length === 0 || 'problem' in read) return;
      const plain = utf8(JSON.stringify(certificate));
      const sealed = recipients.map((recipientKey) => ({ senderKey: ownPublic, recipientKey, box: sealBox(plain, recipientKey, ownPrivate) }));
      await exchange.share(certificate.names, read.notAfter, sealed, signal);
    },
    async find(type, name, signal) {
      return stock ? undefined : await exchange.find(type, name, signal);
    },
  };

  /** Nothing is good for longer than for ever: what is stored does not come again. */
  async function askWithoutCopy(names: readonly string[], signal: AbortSignal): Promise<{ readonly kind: 'granted' | 'held' }> {
    const answer = await exchange.lease(names, Number.MAX_SAFE_INTEGER, ownPublic, signal);
    return { kind: answer.kind === 'granted' ? 'granted' : 'held' };
  }
}

/** By its own word: taken again and again, one that is only said to be good for longer would keep us from ordering. */
function outlives({ chainPem, keyPem }: KeptCertificate, expires: number): boolean {
  const read = readCertificate('', chainPem, keyPem);
  return !('problem' in read) && read.notAfter > expires;
}

async function openKey(file: string): Promise<Uint8Array> {
  const kept = Buffer.from((await readFileIfThere(file)) ?? '', 'base64');
  if (kept.length === 32) return kept;
  const made = randomBytes(32);
  await writeFileAtomic(file, made.toString('base64'));
  return made;
}
