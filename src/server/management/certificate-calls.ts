// The part of GatewayService by which gateways of one cluster share leases, challenge answers and sealed certificates.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ProxyId } from '#model/ids.ts';
import { certificateStates, type CertificateStatus } from '#model/status.ts';
import type { Call, Handlers } from '#rpc/method.ts';
import type { CertificateState, GatewayService, LeaseCertificateRequest, LeaseCertificateResponseSchema } from '#wire/proto/gen/meshgate_pb.ts';
import type { CertificateUseCases } from '../domain/contract.ts';
import { maxCertificateReports, maxLogText } from './constants.ts';
import { managementError } from './errors.ts';

type Calls = Pick<
  Handlers<typeof GatewayService>,
  | 'leaseCertificate'
  | 'releaseCertificate'
  | 'presentChallenges'
  | 'findChallenge'
  | 'certificateRecipients'
  | 'shareCertificate'
  | 'reportCertificates'
>;

export function certificateCalls(certificates: Omit<CertificateUseCases, 'list'>, callerOf: (call: Call) => Promise<ProxyId>): Calls {
  async function lease(
    { cluster, names, notAfter, sealKey }: LeaseCertificateRequest,
    call: Call,
  ): Promise<MessageInitShape<typeof LeaseCertificateResponseSchema>> {
    const answer = await certificates.lease({ cluster, proxyId: await callerOf(call), names, notAfter: Number(notAfter), sealKey });
    if (answer.kind !== 'certificate') return { result: { case: answer.kind, value: {} } };
    const { senderKey, recipientKey, box } = answer;
    return { result: { case: 'certificate', value: { senderKey, recipientKey, box } } };
  }

  return {
    leaseCertificate: (request, call) => lease(request, call),
    releaseCertificate: async ({ cluster, names }, call) => {
      await certificates.release({ cluster, proxyId: await callerOf(call), names });
      return {};
    },
    presentChallenges: async ({ cluster, names, answers }, call) => {
      await certificates.present({ cluster, proxyId: await callerOf(call), names, answers });
      return {};
    },
    findChallenge: async ({ cluster, type, name, token }) => {
      const keyAuthorization = await certificates.findChallenge({ cluster, type, name, token });
      return keyAuthorization === undefined ? {} : { keyAuthorization };
    },
    certificateRecipients: async ({ cluster }, call) => ({ keys: [...(await certificates.recipients(cluster, await callerOf(call)))] }),
    shareCertificate: async ({ cluster, names, notAfter, sealed }, call) => {
      await certificates.share({ cluster, proxyId: await callerOf(call), names, notAfter: Number(notAfter), sealed });
      return {};
    },
    reportCertificates: async ({ cluster, changed, gone }, call) => {
      if (changed.length > maxCertificateReports || gone.length > maxCertificateReports) throw managementError('MANAGEMENT_LOGS_TOO_MANY');
      await certificates.report({ cluster, proxyId: await callerOf(call), changed: changed.map(statusFrom), gone });
      return {};
    },
  };
}

/** Texts are a gateway's own and are cut to a bound. */
function statusFrom(state: CertificateState): CertificateStatus {
  const cut = (text: string): string => text.slice(0, maxLogText);
  const cutOptional = (text: string | undefined): string | undefined => (text === undefined ? undefined : cut(text));
  return {
    names: state.names.slice(0, 100).map(cut),
    source: cut(state.source),
    state: certificateStates.find((known) => known === state.state) ?? 'unusable',
    reason: cut(state.reason),
    issuer: cut(state.issuer),
    notBefore: cutOptional(state.notBefore),
    notAfter: cutOptional(state.notAfter),
    nextAction: cut(state.nextAction),
    nextAt: cutOptional(state.nextAt),
  };
}
