// GatewayService, our own extension: sessions that the control plane keeps, and the stream of what ends trust.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { errorCode, MeshgateError } from '#lib/errors.ts';
import { asId, type ServiceId, type SessionId } from '#model/ids.ts';
import { type Answers, type Call, defineService, type RpcService } from '#rpc/method.ts';
import {
  type CreateSessionRequest,
  type CreateSessionResponseSchema,
  GatewayService,
  type WatchRevocationsResponseSchema,
} from '#wire/proto/gen/meshgate_pb.ts';
import { callingGateway } from './calling-gateway.ts';
import { certificateCalls } from './certificate-calls.ts';
import { maxAccessLogs, maxGatewayStreams, maxQueuedRevocations, maxSecretText, revocationHeartbeatMs } from './constants.ts';
import { managementError } from './errors.ts';
import type { Gateways } from './gateways.ts';
import type { ManagementDeps, ManagementDomain, ManagementOptions } from './options.ts';
import { Outbox } from './outbox.ts';
import { proofCalls } from './proof-calls.ts';
import type { TokenGuard } from './token-guard.ts';
import { accessLogEntryOf, cut, identityOf, revocationOf, sessionOf } from './translate-proxy.ts';

type RevocationMessage = MessageInitShape<typeof WatchRevocationsResponseSchema>;

export function createGatewayService(
  domain: ManagementDomain,
  options: ManagementOptions,
  gateways: Gateways,
  tokens: TokenGuard,
  deps: ManagementDeps,
): RpcService {
  let watchers = 0;

  async function createSession(request: CreateSessionRequest): Promise<MessageInitShape<typeof CreateSessionResponseSchema>> {
    if (request.idToken.length > maxSecretText || request.nonce.length > maxSecretText) throw managementError('MANAGEMENT_SECRET_TOO_LONG');
    const { clientId } = await options.relyingParty(request.cluster);
    try {
      const { userId, signIn, methods } = await options.verifyIdToken(request.idToken, request.nonce, clientId);
      const origin = { signIn, methods, address: cut(request.address, 64), userAgent: cut(request.userAgent, 256) };
      const previous = request.previousSessionId === '' ? undefined : asId<SessionId>(request.previousSessionId);
      const session = await domain.sessions.create(asId<ServiceId>(request.serviceId), userId, origin, previous);
      return { result: { case: 'session', value: sessionOf(session, deps.clock.wall()) } };
    } catch (error) {
      const refused = refusalOf(error);
      if (refused === undefined) throw error;
      deps.log.info('sign-in refused', { service: request.serviceId, reason: refused });
      return { result: { case: 'refused', value: refused } };
    }
  }

  async function watch(call: Call, answers: Answers<RevocationMessage>): Promise<void> {
    if (watchers >= maxGatewayStreams) throw managementError('MANAGEMENT_BUSY');
    watchers += 1;
    const outbox = new Outbox<RevocationMessage>(maxQueuedRevocations);
    const unsubscribe = domain.changes.subscribe((change) => {
      if (change.kind === 'revocation') outbox.put({ ...revocationOf(change.revocation), at: BigInt(Math.trunc(deps.clock.wall())) });
    });
    const expired = new AbortController();
    const beat = (): void => {
      tokens.check(call).catch((error: unknown) => expired.abort(error)); // the stream must not outlive the token
      outbox.put({ event: { case: 'heartbeat', value: {} } });
      timer = deps.clock.after(revocationHeartbeatMs, beat);
    };
    let timer = deps.clock.after(revocationHeartbeatMs, beat);
    const signal = AbortSignal.any([call.signal, expired.signal]);
    try {
      await answers.send({ event: { case: 'ready', value: {} } });
      for (;;) {
        const next = await outbox.take(signal);
        if (expired.signal.aborted) throw expired.signal.reason;
        if (next === 'ended') return;
        if (next === 'overflow') throw managementError('MANAGEMENT_PROXY_SLOW');
        await answers.send(next.item);
      }
    } finally {
      watchers -= 1;
      timer.cancel();
      unsubscribe();
    }
  }

  return defineService(
    GatewayService,
    {
      relyingParty: async (request) => {
        const { issuer, clientId, clientSecret, stateKey } = await options.relyingParty(request.cluster);
        return { issuer, clientId, clientSecret, stateKey };
      },
      createSession: (request) => createSession(request),
      findSession: async (request) => {
        const found = await domain.sessions.find(asId<SessionId>(request.sessionId), asId<ServiceId>(request.serviceId));
        return 'session' in found
          ? { result: { case: 'session', value: sessionOf(found.session, deps.clock.wall()) } }
          : { result: { case: 'missing', value: found.missing } };
      },
      endSession: async (request) => {
        await domain.sessions.end(asId<SessionId>(request.sessionId));
        return {};
      },
      verifyServiceToken: async (request) => {
        if (request.token.length > maxSecretText) return { result: { case: 'denied', value: 'token_invalid' } };
        const checked = await domain.sessions.verifyServiceToken(request.token, asId<ServiceId>(request.serviceId));
        return 'identity' in checked
          ? { result: { case: 'identity', value: identityOf(checked.identity) } }
          : { result: { case: 'denied', value: checked.denied } };
      },
      ...proofCalls(domain.proofs, deps.clock),
      sendAccessLogs: async ({ logs }) => {
        if (logs.length > maxAccessLogs) throw managementError('MANAGEMENT_LOGS_TOO_MANY');
        if (logs.some(({ accountId }) => accountId !== domain.accountId)) throw managementError('MANAGEMENT_ACCOUNT_WRONG');
        const now = deps.clock.wall();
        await domain.events.addAccess(logs.map((log) => accessLogEntryOf(log, now)));
        return {};
      },
      ...certificateCalls(domain.certificates, (call) => callingGateway(call, tokens, gateways)),
      watchRevocations: (_request, call, answers) => watch(call, answers),
    },
    tokens.guard,
  );
}

/** A no that the person who signs in has to be told; anything else is a failure of ours. */
function refusalOf(error: unknown): 'user_blocked' | 'group_not_allowed' | 'issuer_not_allowed' | 'token_invalid' | undefined {
  if (errorCode(error) === 'DOMAIN_USER_BLOCKED') return 'user_blocked';
  if (errorCode(error) === 'DOMAIN_GROUP_NOT_ALLOWED') return 'group_not_allowed';
  if (errorCode(error) === 'DOMAIN_ISSUER_NOT_ALLOWED') return 'issuer_not_allowed';
  const status = error instanceof MeshgateError ? error.row.status : 500;
  return status === 400 || status === 401 || status === 403 ? 'token_invalid' : undefined;
}
