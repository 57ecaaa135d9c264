// Private keys with which gateways show themselves at targets: sealed at rest, opened only for gateways, never told by the API.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { asBuffer, utf8 } from '#lib/bytes.ts';
import type { ServiceId } from '#model/ids.ts';
import type { ServiceTarget } from '#model/service.ts';
import type { UpstreamTls } from '#model/web.ts';
import { invalid } from './errors.ts';
import type { Sealer } from './seal.ts';

/** The target with its key sealed. A certificate without a key keeps the key that it had: the API does not tell it. */
export function sealTargetKey(sealer: Sealer, id: ServiceId, target: ServiceTarget, old: readonly ServiceTarget[]): ServiceTarget {
  const { tls } = target.options;
  const { clientCertificate, clientKey } = tls;
  if (clientCertificate === undefined) {
    if (clientKey !== undefined) throw invalid('A client key needs its certificate.');
    return target;
  }
  const kept = clientKey ?? openedKey(sealer, id, old.find(({ options }) => options.tls.clientCertificate === clientCertificate)?.options.tls);
  if (kept === undefined) throw invalid('A client certificate needs its key.');
  checkPair(clientCertificate, kept);
  return { ...target, options: { ...target.options, tls: { ...tls, clientKey: sealer.seal(place(id), utf8(kept)) } } };
}

/** As a gateway needs it. */
export function openTls(sealer: Sealer, id: ServiceId, tls: UpstreamTls): UpstreamTls {
  return tls.clientKey === undefined ? tls : { ...tls, clientKey: openedKey(sealer, id, tls) };
}

function openedKey(sealer: Sealer, id: ServiceId, tls: UpstreamTls | undefined): string | undefined {
  return tls?.clientKey === undefined ? undefined : asBuffer(sealer.open(place(id), tls.clientKey)).toString('utf8');
}

const place = (id: ServiceId): string => `upstream client key ${id}`;

function checkPair(certificate: string, key: string): void {
  let fits: boolean;
  try {
    fits = new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));
  } catch {
    throw invalid('The client certificate or its key cannot be read: both must be PEM, the key without a password.');
  }
  if (!fits) throw invalid('The client key is not the one of the client certificate.');
}
