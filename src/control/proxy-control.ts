// A gateway's side of the control plane: mappings and revocations as streams, sessions and reports as calls.
import { type Clock, pause } from '#lib/clock.ts';
import { errorCode } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { CertificateExchange } from '#model/certificate-exchange.ts';
import { asId, type PublicKey, type ServiceId, type SessionId } from '#model/ids.ts';
import { pairRefusals } from '#model/identity.ts';
import type {
  CredentialAttempt,
  CredentialCheck,
  Device,
  ProofAttempt,
  ProofGrant,
  RelyingPartyConfig,
  Revocation,
  SessionGrant,
  SessionLookup,
  TokenCheck,
  Visitor,
} from '#model/identity.ts';
import type { MappingChange } from '#model/service.ts';
import { accessVersion } from '#model/access.ts';
import { streamVersion } from '#model/stream.ts';
import { webVersion } from '#model/web.ts';
import type { LinkStatus } from '#model/status.ts';
import { type CallOptions, parseRpcUrl, RpcChannel } from '#rpc/client.ts';
import type { Headers } from '#rpc/method.ts';
import { GatewayService } from '#wire/proto/gen/meshgate_pb.ts';
import { type ProxyMapping, ProxyMappingUpdateType, ProxyService } from '#wire/proto/gen/proxy_service_pb.ts';
import { accessLogsInCall, accessLogsInFlight, proxyCallMs, refusedPauseMs, revocationSilenceMs, streamOpenMs } from './constants.ts';
import { certificateExchange } from './certificate-calls.ts';
import { controlError } from './errors.ts';
import { keepOpen, LinkState } from './link.ts';
import {
  accessLogMessageOf,
  checkFrom,
  deviceFrom,
  identityFrom,
  mappingFrom,
  revocationFrom,
  sessionFrom,
  statusMessageOf,
} from './translate-proxy.ts';
import type { AccessLogRecord, ProxyControl, ProxyControlHandlers, ProxyControlOptions } from './types.ts';

type Create = Parameters<ProxyControl['createProxyPeer']>[0];
type Report = Parameters<ProxyControl['reportStatus']>[0];

/** A message of either kind of mapping stream. */
interface MappingBatch {
  readonly mapping: readonly ProxyMapping[];
  readonly initialSyncComplete: boolean;
}

export class ProxyControlClient implements ProxyControl {
  readonly #options: ProxyControlOptions;
  readonly #channel: RpcChannel;
  readonly #headers: Headers;
  readonly #state: LinkState;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #startedAt: number;
  readonly certificates: CertificateExchange;
  readonly #closing = new AbortController();
  #running: Promise<unknown> | undefined;
  #watchedBefore = false;
  /** The control plane is a stock one, which takes one record a call. */
  #logsSingly = false;
  #closed: Promise<void> | undefined;

  /** Throws RPC_BAD_ADDRESS, RPC_BAD_CERTIFICATE. */
  constructor(options: ProxyControlOptions, deps: { readonly log: Logger; readonly clock: Clock }) {
    this.#options = options;
    this.#channel = new RpcChannel(parseRpcUrl(options.address.url, options.address.ca));
    this.#headers = { authorization: `Bearer ${options.token}`, 'x-meshgate-proxy-id': options.proxyId };
    this.#state = new LinkState('proxy', options.address.url, deps.clock);
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#startedAt = deps.clock.wall();
    this.certificates = certificateExchange(this.#channel, options.cluster, (signal) => this.#call(signal));
  }

  start(handlers: ProxyControlHandlers): void {
    if (this.#running !== undefined || this.#closing.signal.aborted) return;
    const shared = { clock: this.#clock, log: this.#log, signal: this.#closing.signal };
    const watching = new LinkState('proxy', this.#options.address.url, this.#clock);
    this.#running = Promise.all([
      keepOpen({ ...shared, state: this.#state, open: (signal) => this.#mappings(handlers, signal) }),
      keepOpen({ ...shared, state: watching, open: (signal) => this.#revocations(handlers, watching, signal) }),
    ]);
  }

  async createProxyPeer(request: Create, signal: AbortSignal): Promise<void> {
    const { serviceId, accountId, oneTimeToken, publicKey } = request;
    const message = { serviceId, accountId, token: oneTimeToken, wireguardPublicKey: publicKey, cluster: this.#options.cluster };
    const answer = await this.#channel.unary(ProxyService.method.createProxyPeer, message, this.#call(signal));
    if (!answer.success) throw controlError('CONTROL_PROXY_REFUSED', answer.errorMessage ?? '');
  }

  async reportStatus(report: Report, signal: AbortSignal): Promise<void> {
    const { serviceId, accountId, certificateIssued, status } = report;
    const reason = status.reason === '' ? {} : { errorMessage: status.reason };
    const message = { serviceId, accountId, certificateIssued, status: statusMessageOf(status.state), ...reason };
    await this.#channel.unary(ProxyService.method.sendStatusUpdate, message, this.#call(signal));
  }

  async sendAccessLog(records: readonly AccessLogRecord[], signal: AbortSignal): Promise<void> {
    const logs = records.map(({ entry, accountId }) => accessLogMessageOf(entry, accountId));
    let at = 0;
    while (at < logs.length) {
      const count = this.#logsSingly ? accessLogsInFlight : accessLogsInCall;
      const sent = await this.#sendLogs(logs.slice(at, at + count), signal);
      if (sent) at += count;
    }
  }

  /** In one call where the control plane knows our extension, else in one for each. False where that had yet to be found out. */
  async #sendLogs(logs: ReturnType<typeof accessLogMessageOf>[], signal: AbortSignal): Promise<boolean> {
    const options = this.#call(signal);
    if (this.#logsSingly) {
      await Promise.all(logs.map((log) => this.#channel.unary(ProxyService.method.sendAccessLog, { log }, options)));
      return true;
    }
    try {
      await this.#channel.unary(GatewayService.method.sendAccessLogs, { logs }, options);
    } catch (error) {
      if (errorCode(error) !== 'RPC_UNIMPLEMENTED') throw error;
      this.#logsSingly = true;
    }
    return !this.#logsSingly;
  }

  async relyingParty(signal: AbortSignal): Promise<RelyingPartyConfig> {
    const request = { cluster: this.#options.cluster };
    const answer = await this.#channel.unary(GatewayService.method.relyingParty, request, this.#call(signal));
    const { issuer, clientId, clientSecret, stateKey } = answer;
    if (stateKey.length !== 32 || clientId === '' || !URL.canParse(issuer)) throw controlError('CONTROL_ANSWER_INVALID', 'relying party');
    return { issuer, clientId, clientSecret, stateKey };
  }

  async createSession(
    serviceId: ServiceId,
    idToken: string,
    nonce: string,
    visitor: Visitor,
    previous: SessionId | undefined,
    signal: AbortSignal,
  ): Promise<SessionGrant> {
    const request = { serviceId, idToken, nonce, cluster: this.#options.cluster, ...visitor, previousSessionId: previous ?? '' };
    const { result } = await this.#channel.unary(GatewayService.method.createSession, request, this.#call(signal));
    if (result.case === 'refused') {
      const why = (['user_blocked', 'group_not_allowed', 'issuer_not_allowed', 'token_invalid'] as const).find((reason) => reason === result.value);
      return { kind: 'refused', why: why ?? 'token_invalid' };
    }
    const session = result.case === 'session' ? sessionFrom(result.value, this.#clock.wall()) : undefined;
    if (session === undefined || session.serviceId !== serviceId) throw controlError('CONTROL_ANSWER_INVALID', 'session');
    return { kind: 'granted', session };
  }

  async prove(attempt: ProofAttempt, signal: AbortSignal): Promise<ProofGrant> {
    const { sessionId = '', knownBrowser = '', ...rest } = attempt;
    const { result } = await this.#channel.unary(GatewayService.method.prove, { ...rest, sessionId, knownBrowser }, this.#call(signal));
    if (result.case === 'refused') {
      const why = (['wrong', 'wait', 'not_asked'] as const).find((reason) => reason === result.value.why);
      return { kind: 'refused', why: why ?? 'wrong', retryAfterMs: Number(result.value.retryAfterMs) };
    }
    const session = result.value?.session === undefined ? undefined : sessionFrom(result.value.session, this.#clock.wall());
    if (session === undefined || session.serviceId !== attempt.serviceId) throw controlError('CONTROL_ANSWER_INVALID', 'session');
    return { kind: 'granted', session, knownBrowser: result.value?.knownBrowser ?? '' };
  }

  async verifyCredential(attempt: CredentialAttempt, signal: AbortSignal): Promise<CredentialCheck> {
    const { result } = await this.#channel.unary(GatewayService.method.verifyCredential, attempt, this.#call(signal));
    if (result.case === 'denied') {
      const why = (['wrong', 'wait', 'group_not_allowed'] as const).find((reason) => reason === result.value.why);
      return { kind: 'denied', why: why ?? 'wrong', retryAfterMs: Number(result.value.retryAfterMs) };
    }
    const identity = result.case === 'identity' ? identityFrom(result.value) : undefined;
    if (identity === undefined) throw controlError('CONTROL_ANSWER_INVALID', 'identity');
    return { kind: 'valid', identity };
  }

  async pairDevice(sessionId: SessionId, serviceId: ServiceId, name: string, signal: AbortSignal): ReturnType<ProxyControl['pairDevice']> {
    const { result } = await this.#channel.unary(GatewayService.method.pairDevice, { sessionId, serviceId, name }, this.#call(signal));
    if (result.case === 'paired' && result.value.device !== undefined)
      return { device: deviceFrom(result.value.device), secret: result.value.secret };
    return { refused: pairRefusals.find((why) => why === result.value) ?? 'not_offered' };
  }

  async listDevices(sessionId: SessionId, serviceId: ServiceId, signal: AbortSignal): Promise<readonly Device[]> {
    const { devices } = await this.#channel.unary(GatewayService.method.listDevices, { sessionId, serviceId }, this.#call(signal));
    return devices.map(deviceFrom);
  }

  async revokeDevice(sessionId: SessionId, serviceId: ServiceId, deviceId: string, signal: AbortSignal): Promise<void> {
    await this.#channel.unary(GatewayService.method.revokeDevice, { sessionId, serviceId, deviceId }, this.#call(signal));
  }

  async findSession(id: SessionId, serviceId: ServiceId, signal: AbortSignal): Promise<SessionLookup> {
    const { result } = await this.#channel.unary(GatewayService.method.findSession, { sessionId: id, serviceId }, this.#call(signal));
    if (result.case === 'missing') {
      const why = (['unknown', 'expired', 'revoked'] as const).find((reason) => reason === result.value);
      return { kind: 'none', why: why ?? 'unknown' };
    }
    const session = result.case === 'session' ? sessionFrom(result.value, this.#clock.wall()) : undefined;
    if (session === undefined || session.id !== id || session.serviceId !== serviceId) throw controlError('CONTROL_ANSWER_INVALID', 'session');
    return { kind: 'live', session };
  }

  async endSession(id: SessionId, signal: AbortSignal): Promise<void> {
    await this.#channel.unary(GatewayService.method.endSession, { sessionId: id }, this.#call(signal));
  }

  async verifyServiceToken(plain: string, serviceId: ServiceId, signal: AbortSignal): Promise<TokenCheck> {
    const { result } = await this.#channel.unary(GatewayService.method.verifyServiceToken, { token: plain, serviceId }, this.#call(signal));
    const check = checkFrom(result);
    if (check === undefined) throw controlError('CONTROL_ANSWER_INVALID', 'identity');
    return check;
  }

  async verifyPeer(key: PublicKey, serviceId: ServiceId, signal: AbortSignal): Promise<TokenCheck> {
    const { result } = await this.#channel.unary(GatewayService.method.verifyPeer, { publicKey: key, serviceId }, this.#call(signal));
    const check = checkFrom(result);
    if (check === undefined) throw controlError('CONTROL_ANSWER_INVALID', 'identity');
    return check;
  }

  async redeemDiagnosis(token: string, serviceId: ServiceId, signal: AbortSignal): Promise<boolean> {
    return (await this.#channel.unary(GatewayService.method.redeemDiagnosis, { token, serviceId }, this.#call(signal))).valid;
  }

  status(): LinkStatus {
    return this.#state.status();
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    await Promise.all([this.#channel.close(), this.#running]);
  }

  #call(signal: AbortSignal): CallOptions {
    return { signal: AbortSignal.any([signal, this.#closing.signal]), deadlineMs: proxyCallMs, headers: this.#headers };
  }

  /** The acknowledged stream, or the older one where the control plane does not offer it. */
  async #mappings(handlers: ProxyControlHandlers, signal: AbortSignal): Promise<void> {
    const { proxyId, version, cluster, publicPort } = this.#options;
    const init = {
      proxyId,
      version,
      address: cluster,
      startedAt: { seconds: BigInt(Math.floor(this.#startedAt / 1000)), nanos: 0 },
      capabilities: {
        supportsCustomPorts: true,
        requireSubdomain: false,
        supportsCrowdsec: false,
        supportsPrivateService: true,
        meshgateWeb: webVersion,
        meshgateAccess: accessVersion,
        meshgateStream: streamVersion,
        meshgatePublicPort: publicPort,
      },
    };
    const options = { signal, deadlineMs: streamOpenMs, headers: this.#headers };
    try {
      const stream = await this.#channel.duplex(ProxyService.method.syncMappings, options);
      await stream.send({ msg: { case: 'init', value: init } });
      const acknowledge = (): Promise<void> => stream.send({ msg: { case: 'ack', value: {} } });
      await this.#apply(stream, handlers, acknowledge);
    } catch (error) {
      if (errorCode(error) !== 'RPC_UNIMPLEMENTED') throw error;
      const older = await this.#channel.serverStream(ProxyService.method.getMappingUpdate, init, options);
      await this.#apply(older, handlers, () => Promise.resolve());
    }
  }

  async #apply(stream: AsyncIterable<MappingBatch>, handlers: ProxyControlHandlers, acknowledge: () => Promise<void>): Promise<void> {
    let complete = false;
    await handlers.change({ kind: 'snapshot-begin' });
    for await (const batch of stream) {
      this.#state.up();
      for (const entry of batch.mapping) await handlers.change(this.#changeFrom(entry));
      if (batch.initialSyncComplete && !complete) {
        complete = true;
        await handlers.change({ kind: 'snapshot-complete' });
      }
      await acknowledge();
    }
  }

  /** What cannot be published is removed: an older version of it may be more open than the new one is meant to be. */
  #changeFrom(entry: ProxyMapping): MappingChange {
    const id = asId<ServiceId>(entry.id);
    if (entry.type === ProxyMappingUpdateType.UPDATE_TYPE_REMOVED) return { kind: 'remove', id };
    const mapping = mappingFrom(entry);
    if (!('unusable' in mapping)) return { kind: 'set', mapping };
    this.#log.warn('service not published', { service: entry.id.slice(0, 64), domain: entry.domain.slice(0, 255), reason: mapping.unusable });
    return { kind: 'remove', id };
  }

  async #revocations(handlers: ProxyControlHandlers, state: LinkState, signal: AbortSignal): Promise<void> {
    const silence = new AbortController();
    let timer = this.#clock.after(revocationSilenceMs, () => silence.abort());
    try {
      const options = { signal: AbortSignal.any([signal, silence.signal]), deadlineMs: streamOpenMs, headers: this.#headers };
      const stream = await this.#channel.serverStream(GatewayService.method.watchRevocations, {}, options);
      for await (const message of stream) {
        timer.cancel();
        timer = this.#clock.after(revocationSilenceMs, () => silence.abort());
        if (message.event.case === 'ready') this.#watching(handlers, state);
        if (message.event.case === 'peersChanged') handlers.peersChanged();
        const revocation: Revocation | undefined = revocationFrom(message);
        if (revocation !== undefined) handlers.revoked(revocation, message.at > 0n ? Number(message.at) : undefined);
      }
    } catch (error) {
      if (silence.signal.aborted) throw controlError('CONTROL_SILENT', '', error);
      if (errorCode(error) !== 'RPC_UNIMPLEMENTED') throw error;
      this.#log.warn('the control plane cannot revoke sessions at once: it does not know our extension');
      await pause(this.#clock, refusedPauseMs, signal);
    } finally {
      timer.cancel();
    }
  }

  /** While the stream was away, something may have been revoked. */
  #watching(handlers: ProxyControlHandlers, state: LinkState): void {
    state.up();
    if (this.#watchedBefore) handlers.resynced();
    this.#watchedBefore = true;
  }
}
