// ManagementService: what peers call. Bodies are sealed between the peer's key and the server's; whoever can seal is the peer.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { describeError } from '#lib/errors.ts';
import type { PublicKey } from '#model/ids.ts';
import { type Answers, type Call, defineService, type RpcService } from '#rpc/method.ts';
import {
  DeviceAuthorizationFlowSchema,
  type EncryptedMessage,
  EmptySchema,
  ExtendAuthSessionRequestSchema,
  ExtendAuthSessionResponseSchema,
  LoginRequestSchema,
  type LoginRequest,
  LoginResponseSchema,
  ManagementService,
  PKCEAuthorizationFlowSchema,
  SyncMetaRequestSchema,
  SyncRequestSchema,
} from '#wire/proto/gen/management_pb.ts';
import type { PeerSelf } from '../domain/contract.ts';
import { maxBuilds, maxSecretText, maxSyncSetups } from './constants.ts';
import type { Envelope, Envelopes } from './envelopes.ts';
import { managementError } from './errors.ts';
import { stockExposeHandlers } from './expose-service.ts';
import { Gate } from './gate.ts';
import { MapEncoder, syncResponseBytes } from './map-bytes.ts';
import type { AuthorizationFlow, ManagementDeps, ManagementDomain, ManagementOptions } from './options.ts';
import type { PathReports } from './path-reports.ts';
import type { Strangers } from './strangers.ts';
import { SyncStream, type SyncStreams } from './sync-streams.ts';
import { checksOf, configOf, metaOf, peerConfigOf, sessionEndOf } from './translate.ts';

/** What stock clients send in place of a setup key when they bring a sign-in token. */
const noSetupKey = '00000000-0000-0000-0000-000000000000';

/** What the process knows of its peers. */
interface PeerTables {
  readonly streams: SyncStreams;
  readonly strangers: Strangers;
  readonly reports: PathReports;
  readonly envelopes: Envelopes;
}

export function createPeerService(domain: ManagementDomain, options: ManagementOptions, tables: PeerTables, deps: ManagementDeps): RpcService {
  const { streams, strangers, reports, envelopes } = tables;
  const builds = new Gate(maxBuilds);
  const encoder = new MapEncoder();
  let setups = 0;

  async function login(envelope: EncryptedMessage, call: Call): Promise<Envelope> {
    const { from, message } = envelopes.open(LoginRequestSchema, envelope, call);
    if (message.meta === undefined) throw managementError('MANAGEMENT_META_MISSING');
    const setupKey = setupKeyOf(message);
    const token = message.jwtToken === '' ? undefined : await verifyToken(message.jwtToken);
    let self: PeerSelf;
    try {
      const request = { publicKey: from, meta: metaOf(message.meta), setupKey, userId: token?.userId };
      self = await domain.peers.login(token === undefined ? request : { ...request, signInToken: token });
    } catch (error) {
      // Without a key or a user it is only the question whether the peer is known.
      if (setupKey !== '' || token !== undefined) {
        deps.log.warn('peer refused', { peer: from, address: call.peerAddress, reason: describeError(error) });
      }
      throw error;
    }
    strangers.prove(from);
    const map = await builds.run(() => domain.maps.build(from));
    const sessionExpiresAt = sessionEndOf(self.sessionExpiresAt);
    return envelopes.seal(
      LoginResponseSchema,
      { netbirdConfig: configOf(options.endpoints()), peerConfig: peerConfigOf(map), Checks: checksOf(map.files ?? []), sessionExpiresAt },
      from,
    );
  }

  async function extendSession(envelope: EncryptedMessage, call: Call): Promise<Envelope> {
    const { from, message } = envelopes.open(ExtendAuthSessionRequestSchema, envelope, call);
    if (message.jwtToken === '') throw managementError('MANAGEMENT_TOKEN_MISSING');
    const { userId, ...signInToken } = await verifyToken(message.jwtToken);
    const self = await domain.peers.extendSession({ publicKey: from, userId, signInToken });
    if (message.meta !== undefined) await domain.peers.updateMeta(from, metaOf(message.meta));
    streams.endpointsChangedOf(from); // its stream tells the new end too
    return envelopes.seal(ExtendAuthSessionResponseSchema, { sessionExpiresAt: sessionEndOf(self.sessionExpiresAt) }, from);
  }

  function verifyToken(token: string): ReturnType<NonNullable<ManagementOptions['verifyLoginToken']>> {
    if (token.length > maxSecretText) throw managementError('MANAGEMENT_SECRET_TOO_LONG');
    if (options.verifyLoginToken === undefined) throw managementError('MANAGEMENT_SIGN_IN_OFF');
    return options.verifyLoginToken(token);
  }

  async function sync(envelope: EncryptedMessage, call: Call, answers: Answers<Envelope>): Promise<void> {
    const { from, message } = envelopes.open(SyncRequestSchema, envelope, call);
    if (setups >= maxSyncSetups) throw managementError('MANAGEMENT_BUSY');
    setups += 1;
    let settingUp = true;
    const settled = (): void => {
      if (settingUp) setups -= 1;
      settingUp = false;
    };
    const stream = new SyncStream(from, {
      build: (peer) => builds.run(async () => encoder.encode(await domain.maps.build(peer))),
      clock: deps.clock,
      send: async (push) => {
        settled();
        const rest = push.endpoints ? { netbirdConfig: configOf(options.endpoints()), sessionExpiresAt: await sessionEnd(from) } : {};
        await answers.send(envelopes.sealBytes(syncResponseBytes(rest, push.map), from));
      },
    });
    try {
      await domain.peers.self(from); // an unknown peer is refused before it replaces anything
      strangers.prove(from);
      if (message.meta !== undefined) await domain.peers.updateMeta(from, metaOf(message.meta));
      streams.add(from, stream);
      await domain.peers.setConnected(from, true, call.peerAddress);
      deps.log.info('peer connected', { peer: from, address: call.peerAddress });
      await stream.run(call.signal);
    } finally {
      settled();
      if (streams.remove(from, stream)) {
        reports.forget(from);
        await disconnected(from, call.peerAddress);
      }
    }
  }

  async function sessionEnd(peer: PublicKey): Promise<ReturnType<typeof sessionEndOf>> {
    return sessionEndOf((await domain.peers.self(peer)).sessionExpiresAt);
  }

  /** The peer may have been removed meanwhile, which is no failure. */
  async function disconnected(peer: PublicKey, address: string): Promise<void> {
    deps.log.info('peer disconnected', { peer });
    try {
      await domain.peers.setConnected(peer, false, address);
    } catch (error) {
      deps.log.debug('peer state not stored', { peer, reason: describeError(error) });
    }
  }

  return defineService(ManagementService, {
    getServerKey: () => Promise.resolve({ key: envelopes.ownKey }),
    isHealthy: () => Promise.resolve({}),
    login: (envelope, call) => login(envelope, call),
    sync: (envelope, call, answers) => sync(envelope, call, answers),
    syncMeta: async (envelope, call) => {
      const { from, message } = envelopes.open(SyncMetaRequestSchema, envelope, call);
      if (message.meta === undefined) throw managementError('MANAGEMENT_META_MISSING');
      await domain.peers.updateMeta(from, metaOf(message.meta));
      return {};
    },
    logout: async (envelope, call) => {
      const { from } = envelopes.open(EmptySchema, envelope, call);
      await domain.peers.logout(from);
      return {};
    },
    ...stockExposeHandlers(domain.exposures, envelopes),
    extendAuthSession: (envelope, call) => extendSession(envelope, call),
    getDeviceAuthorizationFlow: async (envelope, call) => {
      const { from } = envelopes.open(EmptySchema, envelope, call);
      return envelopes.seal(DeviceAuthorizationFlowSchema, { ProviderConfig: providerOf(options.flows?.device) }, from);
    },
    getPKCEAuthorizationFlow: async (envelope, call) => {
      const { from } = envelopes.open(EmptySchema, envelope, call);
      return envelopes.seal(PKCEAuthorizationFlowSchema, { ProviderConfig: providerOf(options.flows?.pkce) }, from);
    },
  });
}

/** Setup keys come lower-cased from stock clients; the domain compares them as it issued them. */
function setupKeyOf(message: LoginRequest): string {
  if (message.setupKey.length > maxSecretText) throw managementError('MANAGEMENT_SECRET_TOO_LONG');
  return message.setupKey === noSetupKey ? '' : message.setupKey;
}

function providerOf(flow: AuthorizationFlow | undefined): NonNullable<MessageInitShape<typeof PKCEAuthorizationFlowSchema>['ProviderConfig']> {
  if (flow === undefined) throw managementError('MANAGEMENT_FLOW_UNKNOWN');
  return {
    ClientID: flow.clientId,
    Audience: flow.audience,
    Scope: flow.scope,
    TokenEndpoint: flow.tokenEndpoint,
    DeviceAuthEndpoint: flow.deviceAuthEndpoint ?? '',
    AuthorizationEndpoint: flow.authorizationEndpoint ?? '',
    RedirectURLs: [...(flow.redirectUrls ?? [])],
    UseIDToken: flow.useIdToken ?? false,
  };
}
