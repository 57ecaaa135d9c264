// A gateway's side of what its cluster shares about certificates.
import type { CertificateExchange } from '#model/certificate-exchange.ts';
import type { CertificateStatus } from '#model/status.ts';
import type { CallOptions, RpcChannel } from '#rpc/client.ts';
import { GatewayService } from '#wire/proto/gen/meshgate_pb.ts';
import { controlError } from './errors.ts';

export function certificateExchange(channel: RpcChannel, cluster: string, options: (signal: AbortSignal) => CallOptions): CertificateExchange {
  const { method } = GatewayService;
  return {
    async lease(names, notAfter, sealKey, signal) {
      const request = { cluster, names: [...names], notAfter: BigInt(Math.floor(notAfter)), sealKey };
      const { result } = await channel.unary(method.leaseCertificate, request, options(signal));
      switch (result.case) {
        case 'granted':
        case 'held':
          return { kind: result.case };
        case 'certificate':
          return { kind: 'certificate', senderKey: result.value.senderKey, recipientKey: result.value.recipientKey, box: result.value.box };
        case undefined:
          throw controlError('CONTROL_ANSWER_INVALID', 'lease');
      }
    },
    async release(names, signal) {
      await channel.unary(method.releaseCertificate, { cluster, names: [...names] }, options(signal));
    },
    async present(names, answers, signal) {
      await channel.unary(
        method.presentChallenges,
        { cluster, names: [...names], answers: answers.map((answer) => ({ ...answer })) },
        options(signal),
      );
    },
    async find(type, name, signal) {
      return (await channel.unary(method.findChallenge, { cluster, type, name }, options(signal))).keyAuthorization;
    },
    async recipients(signal) {
      return (await channel.unary(method.certificateRecipients, { cluster }, options(signal))).keys;
    },
    async share(names, notAfter, sealed, signal) {
      const request = { cluster, names: [...names], notAfter: BigInt(Math.floor(notAfter)), sealed: sealed.map((copy) => ({ ...copy })) };
      await channel.unary(method.shareCertificate, request, options(signal));
    },
    async report(changed, gone, signal) {
      await channel.unary(method.reportCertificates, { cluster, changed: changed.map(stateOf), gone: [...gone] }, options(signal));
    },
  };
}

function stateOf({ names, source, state, reason, issuer, notBefore, notAfter, nextAction, nextAt }: CertificateStatus) {
  const optional = {
    ...(notBefore === undefined ? {} : { notBefore }),
    ...(notAfter === undefined ? {} : { notAfter }),
    ...(nextAt === undefined ? {} : { nextAt }),
  };
  return { names: [...names], source, state, reason, issuer, nextAction, ...optional };
}
