// A peer's side of the control plane: login, sync, signal.
import type { DescMessage, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { publicFromPrivate } from '#crypto/x25519.ts';
import { toBase64 } from '#lib/bytes.ts';
import type { Clock } from '#lib/clock.ts';
import { describeError, errorCode } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { ExposeAnswer, ExposeRequest } from '#model/exposure.ts';
import { asId, parsePublicKey, type ProxyId, type PublicKey } from '#model/ids.ts';
import type { MeshEndpoints } from '#model/network-map.ts';
import type { PathReport } from '#model/path-report.ts';
import type { SignalMessage } from '#model/signal.ts';
import type { LinkStatus } from '#model/status.ts';
import type { TlsGrant } from '#model/tls-grant.ts';
import { parseRpcUrl, RpcChannel } from '#rpc/client.ts';
import type { UnaryMethod } from '#rpc/method.ts';
import { Sealer } from '#rpc/sealed.ts';
import {
  EmptySchema,
  type EncryptedMessageSchema,
  LoginRequestSchema,
  LoginResponseSchema,
  ManagementService,
  SyncRequestSchema,
  SyncResponseSchema,
} from '#wire/proto/gen/management_pb.ts';
import { PathReportSchema, PeerReportService, PeerTlsService, TlsGrantRequestSchema, TlsGrantSchema } from '#wire/proto/gen/meshgate_peer_pb.ts';
import { loginMs, reportMs, serverKeyMs, streamOpenMs, verifyMs } from './constants.ts';
import { controlError } from './errors.ts';
import { ExposeCalls } from './expose-calls.ts';
import { keepOpen, LinkState, Nudge, reasonOf } from './link.ts';
import { SignalLink } from './signal-link.ts';
import { pathReportMessageOf } from './translate-report.ts';
import { endpointsAfter, metaMessageOf, networkMapFrom } from './translate.ts';
import type { LoginOutcome, PeerControl, PeerControlHandlers, PeerControlOptions } from './types.ts';

/** Answers to a login that say: not before somebody acts. A stock server answers an unknown setup key with NOT_FOUND. */
const refusals = new Set(['RPC_PERMISSION_DENIED', 'RPC_INVALID_ARGUMENT', 'RPC_NOT_FOUND', 'RPC_UNAUTHENTICATED', 'RPC_FAILED_PRECONDITION']);

type Sealed<O extends DescMessage> = UnaryMethod<typeof EncryptedMessageSchema, O>;

export class PeerControlClient implements PeerControl {
  readonly #options: PeerControlOptions;
  readonly #channel: RpcChannel;
  readonly #sealer: Sealer;
  readonly #ownKey: PublicKey;
  readonly #state: LinkState;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #closing = new AbortController();
  #endpoints: MeshEndpoints | undefined;
  #serial = -1n;
  #signal: SignalLink | undefined;
  #syncing: Promise<void> | undefined;
  /** The key of the server that the open stream leads to. */
  #reportsTo: string | undefined;
  /** That server does not know our extension. */
  #takesNoReports = false;
  readonly #nudge = new Nudge();
  /** Aborted where the stream that is open is dead. */
  #dead = new AbortController();
  readonly #exposures: ExposeCalls;
  #onSignal: (from: PublicKey, message: SignalMessage) => void = () => undefined;
  #onSignalConnected: () => void = () => undefined;
  #closed: Promise<void> | undefined;

  /** Throws RPC_BAD_ADDRESS, RPC_BAD_CERTIFICATE, CRYPTO_BAD_KEY. */
  constructor(options: PeerControlOptions, deps: { readonly log: Logger; readonly clock: Clock }) {
    const ownKey = parsePublicKey(toBase64(publicFromPrivate(options.privateKey)));
    if (ownKey === undefined) throw controlError('CONTROL_ANSWER_INVALID', 'own key');
    this.#options = options;
    this.#channel = new RpcChannel(parseRpcUrl(options.address.url, options.address.ca));
    this.#sealer = new Sealer(options.privateKey);
    this.#ownKey = ownKey;
    this.#state = new LinkState('management', options.address.url, deps.clock);
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#exposures = new ExposeCalls(async (method, inputDesc, input, outputDesc, signal) => {
      const within = AbortSignal.any([signal, this.#closing.signal, AbortSignal.timeout(loginMs)]);
      return this.#sealedCall(method, await this.#serverKey(within), inputDesc, input, outputDesc, within);
    });
  }

  async login(signal: AbortSignal): Promise<LoginOutcome> {
    const within = AbortSignal.any([signal, this.#closing.signal, AbortSignal.timeout(loginMs)]);
    try {
      const answer = await this.#loginOrRegister(within);
      const endpoints = answer.netbirdConfig === undefined ? undefined : endpointsAfter(undefined, answer.netbirdConfig, this.#log);
      if (endpoints === undefined) throw controlError('CONTROL_ANSWER_INVALID', 'the login answer has no signal address');
      this.#endpoints = endpoints;
      return { kind: 'signed-in', endpoints };
    } catch (error) {
      this.#state.down(reasonOf(error));
      if (refusals.has(errorCode(error) ?? '')) return { kind: 'refused', reason: reasonOf(error) };
      throw error;
    }
  }

  /** Without proof first: a peer that is known needs none. Only PERMISSION_DENIED means that it has to register. */
  async #loginOrRegister(signal: AbortSignal): Promise<MessageShape<typeof LoginResponseSchema>> {
    const meta = metaMessageOf(this.#options.meta);
    const { login } = ManagementService.method;
    const serverKey = await this.#serverKey(signal);
    try {
      return await this.#sealedCall(login, serverKey, LoginRequestSchema, { meta }, LoginResponseSchema, signal);
    } catch (error) {
      if (errorCode(error) !== 'RPC_PERMISSION_DENIED' || this.#options.setupKey === undefined) throw error;
    }
    const request = { meta, setupKey: this.#options.setupKey };
    return this.#sealedCall(login, serverKey, LoginRequestSchema, request, LoginResponseSchema, signal);
  }

  start(endpoints: MeshEndpoints, handlers: PeerControlHandlers): void {
    if (this.#syncing !== undefined || this.#closing.signal.aborted) return;
    this.#endpoints = endpoints;
    const options = {
      signal: endpoints.signal,
      ca: this.#options.address.ca,
      ownKey: this.#ownKey,
      sealer: this.#sealer,
      received: (from: PublicKey, message: SignalMessage) => this.#onSignal(from, message),
      connected: () => this.#onSignalConnected(),
    };
    this.#signal = new SignalLink(options, this.#clock, this.#log);
    this.#signal.start();
    this.#syncing = keepOpen({
      state: this.#state,
      clock: this.#clock,
      log: this.#log,
      signal: this.#closing.signal,
      nudge: this.#nudge,
      open: (signal) => {
        this.#dead = new AbortController();
        return this.#sync(handlers, AbortSignal.any([signal, this.#dead.signal]));
      },
      refused: (reason) => handlers.refused(reason),
    });
  }

  sendSignal(to: PublicKey, message: SignalMessage): void {
    this.#signal?.send(to, message);
  }

  onSignal(handler: (from: PublicKey, message: SignalMessage) => void): void {
    this.#onSignal = handler;
  }

  onSignalConnected(handler: () => void): void {
    this.#onSignalConnected = handler;
  }

  async reportPaths(report: PathReport, signal: AbortSignal): Promise<'taken' | 'unsupported'> {
    if (this.#reportsTo === undefined || !this.#state.connected) throw controlError('CONTROL_AWAY');
    if (this.#takesNoReports) return 'unsupported';
    const body = this.#sealer.seal(PathReportSchema, pathReportMessageOf(report), this.#reportsTo);
    const options = { signal: AbortSignal.any([signal, this.#closing.signal]), deadlineMs: reportMs };
    try {
      await this.#channel.unary(PeerReportService.method.reportPaths, { wgPubKey: this.#ownKey, body }, options);
      return 'taken';
    } catch (error) {
      if (errorCode(error) !== 'RPC_UNIMPLEMENTED') throw error;
      this.#takesNoReports = true;
      return 'unsupported';
    }
  }

  expose(request: ExposeRequest, signal: AbortSignal): Promise<ExposeAnswer> {
    return this.#exposures.expose(request, signal);
  }

  renewExposure(id: string, signal: AbortSignal): Promise<ExposeAnswer> {
    return this.#exposures.renewExposure(id, signal);
  }

  stopExposure(id: string, signal: AbortSignal): Promise<void> {
    return this.#exposures.stopExposure(id, signal);
  }

  async tlsGrant(current: string, signal: AbortSignal): Promise<TlsGrant> {
    const within = AbortSignal.any([signal, this.#closing.signal]);
    const serverKey = await this.#serverKey(within);
    const { grant } = PeerTlsService.method;
    const answer = await this.#sealedCall(grant, serverKey, TlsGrantRequestSchema, { token: current }, TlsGrantSchema, within);
    const gateways = answer.gateways.flatMap((key) => parsePublicKey(toBase64(key)) ?? []);
    return { token: answer.token, cluster: answer.cluster, proxyId: asId<ProxyId>(answer.proxyId), gateways };
  }

  networkChanged(): void {
    this.#signal?.networkChanged();
    this.#nudge.now();
    if (this.#state.connected) void this.#verify();
  }

  async logout(signal: AbortSignal): Promise<void> {
    const within = AbortSignal.any([signal, this.#closing.signal]);
    const serverKey = await this.#serverKey(within);
    const body = this.#sealer.seal(EmptySchema, {}, serverKey);
    await this.#channel.unary(ManagementService.method.logout, { wgPubKey: this.#ownKey, body }, { signal: within, deadlineMs: loginMs });
  }

  status(): readonly LinkStatus[] {
    const signal = this.#signal?.status();
    return signal === undefined ? [this.#state.status()] : [this.#state.status(), signal];
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    await Promise.all([this.#signal?.close(), this.#channel.close(), this.#syncing]);
  }

  /** The connection of the open stream has to carry one call soon, or another is opened. */
  async #verify(): Promise<void> {
    const dead = this.#dead;
    const options = { signal: AbortSignal.any([this.#closing.signal, dead.signal]), deadlineMs: verifyMs };
    try {
      await this.#channel.unary(ManagementService.method.getServerKey, {}, options);
    } catch (error) {
      this.#log.debug('the management connection did not survive a change of the network', { reason: describeError(error) });
      this.#channel.renew();
      this.#nudge.now();
      dead.abort();
    }
  }

  /** The key may change with each start of the server, so it is asked for each time. */
  async #serverKey(signal: AbortSignal): Promise<string> {
    const { key } = await this.#channel.unary(ManagementService.method.getServerKey, {}, { signal, deadlineMs: serverKeyMs });
    if (parsePublicKey(key) === undefined) throw controlError('CONTROL_ANSWER_INVALID', 'server key');
    return key;
  }

  async #sealedCall<I extends DescMessage, O extends DescMessage>(
    method: Sealed<typeof EncryptedMessageSchema>,
    serverKey: string,
    inputDesc: I,
    input: MessageInitShape<I>,
    outputDesc: O,
    signal: AbortSignal,
  ): Promise<MessageShape<O>> {
    const body = this.#sealer.seal(inputDesc, input, serverKey);
    const answer = await this.#channel.unary(method, { wgPubKey: this.#ownKey, body }, { signal, deadlineMs: loginMs });
    return this.#sealer.open(outputDesc, answer.body, serverKey);
  }

  async #sync(handlers: PeerControlHandlers, signal: AbortSignal): Promise<void> {
    const serverKey = await this.#serverKey(signal);
    const body = this.#sealer.seal(SyncRequestSchema, { meta: metaMessageOf(this.#options.meta) }, serverKey);
    const request = { wgPubKey: this.#ownKey, body };
    this.#reportsTo = serverKey;
    this.#takesNoReports = false;
    const stream = await this.#channel.serverStream(ManagementService.method.sync, request, { signal, deadlineMs: streamOpenMs });
    for await (const envelope of stream) {
      this.#state.up();
      this.#apply(this.#sealer.open(SyncResponseSchema, envelope.body, serverKey), handlers);
    }
  }

  #apply(message: MessageShape<typeof SyncResponseSchema>, handlers: PeerControlHandlers): void {
    if (message.netbirdConfig !== undefined) {
      const endpoints = endpointsAfter(this.#endpoints, message.netbirdConfig, this.#log);
      if (endpoints !== undefined) {
        this.#endpoints = endpoints;
        handlers.endpoints(endpoints);
      }
    }
    if (message.NetworkMap === undefined) return;
    if (message.NetworkMap.Serial < this.#serial) {
      return this.#log.debug('older network map ignored', { serial: String(message.NetworkMap.Serial), current: String(this.#serial) });
    }
    const map = networkMapFrom(message.NetworkMap, this.#ownKey, this.#log);
    if (map === undefined) return;
    this.#serial = map.serial;
    handlers.map(map);
  }
}
