// The part of GatewayService that judges proofs beyond sign-in at the identity provider.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Clock } from '#lib/clock.ts';
import { requestProofs, typedProofs } from '#model/access.ts';
import { asId, type ServiceId, type SessionId } from '#model/ids.ts';
import type { Call } from '#rpc/method.ts';
import type { ProveRequest, ProveResponseSchema, VerifyCredentialRequest, VerifyCredentialResponseSchema } from '#wire/proto/gen/meshgate_pb.ts';
import type { ProofUseCases } from '../domain/proof-contract.ts';
import { maxProofSecret, maxProofText } from './constants.ts';
import { identityOf, sessionOf } from './translate-proxy.ts';

interface ProofCalls {
  readonly prove: (request: ProveRequest, call: Call) => Promise<MessageInitShape<typeof ProveResponseSchema>>;
  readonly verifyCredential: (request: VerifyCredentialRequest, call: Call) => Promise<MessageInitShape<typeof VerifyCredentialResponseSchema>>;
}

/** `clusterOf` is that of the gateway that calls. */
export function proofCalls(proofs: ProofUseCases, clock: Clock, clusterOf: (call: Call) => Promise<string>): ProofCalls {
  return {
    prove: async (request, call) => {
      const cluster = await clusterOf(call);
      const { serviceId, secret, sessionId, knownBrowser, address, userAgent } = request;
      const kind = typedProofs.find((known) => known === request.kind);
      if (kind === undefined || secret.length > maxProofSecret) return { result: { case: 'refused', value: { why: 'wrong', retryAfterMs: 0n } } };
      const attempt = {
        serviceId: asId<ServiceId>(serviceId),
        kind,
        secret,
        sessionId: sessionId === '' || sessionId.length > maxProofText ? undefined : asId<SessionId>(sessionId),
        knownBrowser: knownBrowser === '' || knownBrowser.length > maxProofText ? undefined : knownBrowser,
        address: address.slice(0, maxProofText),
        userAgent: userAgent.slice(0, maxProofText),
      };
      const grant = await proofs.prove(attempt, cluster);
      if (grant.kind === 'granted') {
        return { result: { case: 'granted', value: { session: sessionOf(grant.session, clock.wall()), knownBrowser: grant.knownBrowser } } };
      }
      return { result: { case: 'refused', value: { why: grant.why, retryAfterMs: BigInt(Math.ceil(grant.retryAfterMs)) } } };
    },

    verifyCredential: async ({ serviceId, kind: word, name, secret, address }, call) => {
      const cluster = await clusterOf(call);
      const kind = ([...requestProofs, 'certificate'] as const).find((known) => known === word);
      if (kind === undefined || secret.length > maxProofSecret || name.length > maxProofText)
        return { result: { case: 'denied', value: { why: 'wrong', retryAfterMs: 0n } } };
      const check = await proofs.verify(
        { serviceId: asId<ServiceId>(serviceId), kind, name, secret, address: address.slice(0, maxProofText) },
        cluster,
      );
      if (check.kind === 'valid') return { result: { case: 'identity', value: identityOf(check.identity) } };
      return { result: { case: 'denied', value: { why: check.why, retryAfterMs: BigInt(Math.ceil(check.retryAfterMs)) } } };
    },
  };
}
