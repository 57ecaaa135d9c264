// The part of GatewayService by which gateways of one cluster share leases, challenge answers and sealed certificates.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { certificateStates, type CertificateStatus } from '#model/status.ts';
import type { Call, Handlers } from '#rpc/method.ts';
import type { CertificateState, GatewayService, LeaseCertificateRequest, LeaseCertificateResponseSchema } from '#wire/proto/gen/meshgate_pb.ts';
import type { CertificateUseCases } from '../domain/contract.ts';
import type { CallingGateway } from './calling-gateway.ts';
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

/** `callerOf` refuses who names a cluster that is not its own. */
export function certificateCalls(
  certificates: Omit<CertificateUseCases, 'list'>,
  callerOf: (call: Call, cluster: string) => Promise<CallingGateway>,
): Calls {
  async function lease(
    { names, notAfter, sealKey, ...request }: LeaseCertificateRequest,
    call: Call,
  ): Promise<MessageInitShape<typeof LeaseCertificateResponseSchema>> {
    const answer = await certificates.lease({ ...(await callerOf(call, request.cluster)), names, notAfter: Number(notAfter), sealKey });
    if (answer.kind !== 'certificate') return { result: { case: answer.kind, value: {} } };
    const { senderKey, recipientKey, box } = answer;
    return { result: { case: 'certificate', value: { senderKey, recipientKey, box } } };
  }

  return {
    leaseCertificate: (request, call) => lease(request, call),
    releaseCertificate: async ({ cluster, names }, call) => {
      await certificates.release({ ...(await callerOf(call, cluster)), names });
      return {};
    },
    presentChallenges: async ({ cluster, names, answers }, call) => {
      await certificates.present({ ...(await callerOf(call, cluster)), names, answers });
      return {};
    },
    findChallenge: async ({ type, name, token, ...request }, call) => {
      const { cluster } = await callerOf(call, request.cluster);
      const keyAuthorization = await certificates.findChallenge({ cluster, type, name, token });
      return keyAuthorization === undefined ? {} : { keyAuthorization };
    },
    certificateRecipients: async (request, call) => {
      const { cluster, proxyId } = await callerOf(call, request.cluster);
      return { keys: [...(await certificates.recipients(cluster, proxyId))] };
    },
    shareCertificate: async ({ cluster, names, notAfter, sealed }, call) => {
      await certificates.share({ ...(await callerOf(call, cluster)), names, notAfter: Number(notAfter), sealed });
      return {};
    },
    reportCertificates: async ({ cluster, changed, gone }, call) => {
      if (changed.length > maxCertificateReports || gone.length > maxCertificateReports) throw managementError('MANAGEMENT_LOGS_TOO_MANY');
      await certificates.report({ ...(await callerOf(call, cluster)), changed: changed.map(statusFrom), gone });
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
