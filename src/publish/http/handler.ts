// The one handler of all exchanges: one parse, one decision, one forward, one record.
import type { Duplex } from 'node:stream';
import { sessionKey } from '#identity/session-cache.ts';
import { describeError } from '#lib/errors.ts';
import { callerNetwork } from '#lib/ip.ts';
import type { ProofAlternatives } from '#model/access.ts';
import type { DenyReason } from '#model/decision.ts';
import type { ServiceId } from '#model/ids.ts';
import { joinedValue, type Fields } from '#wire/http1-fields.ts';
import type { ResponseHead } from '#wire/http1-head.ts';
import type { Verdict } from '../access/check.ts';
import { admittedRate } from '../access/checks/rate.ts';
import { clientAddress, isTrustedPeer } from '../access/client-address.ts';
import { behindDevice } from '../access/behind-device.ts';
import { answerOwnPath } from '../access/own-paths.ts';
import { isOwnPath, Place } from '../access/place.ts';
import { askToProve } from '../access/proof-steps.ts';
import { readChain, type ProxyChain } from '../access/proxy-chain.ts';
import { doorChecks, proofChecks, runChecks } from '../access/pipeline.ts';
import { respondOwn, respondPrivate, type OwnAnswer } from '../access/respond.ts';
import { standingRefusal, StandingTrust } from '../access/standing-trust.ts';
import { readSubject, type Subject } from '../access/subject.ts';
import { reasonStatus, type OwnReason } from '../pages/reasons.ts';
import { diagnosisOf, type Diagnosis, type StageTimes } from '../pages/stages.ts';
import type { Trace } from '../tracing/trace-context.ts';
import { CONFIRM_MS, UPGRADE_IDLE_MS } from '../constants.ts';
import { editAnswer, keepBehind, type AnswerEdits } from './answer-edits.ts';
import { credentialOf, memberKey } from './credential.ts';
import { diagnose, diagnosisToken } from './diagnose.ts';
import type { Exchange, ExchangeOwner } from './exchange.ts';
import type { HandlerDeps } from './handler-deps.ts';
import { administratorAsks } from './explain.ts';
import { forwardingLines } from './forwarding.ts';
import { noFields } from './field-class.ts';
import { Forward, type ForwardEvents } from './forward.ts';
import { via, visitedBefore } from './loop-guard.ts';
import type { OpenStream } from './open-streams.ts';
import { authMethodOf, requestFacts } from './request-facts.ts';
import { RequestInput } from './request-input.ts';
import { beginTrace } from './request-trace.ts';
import { giveAnswer, redirectLocation } from './own-answer.ts';
import {
  findRoute,
  type AnsweredRoute,
  type PublishedService,
  type Route,
  type RouteTable,
  type RouteTarget,
  type ServiceRoute,
  type UnlockRoute,
} from './routes.ts';
import { unlockPort } from './unlock.ts';
import { allowedUpgrade, upstreamHead } from './upstream-head.ts';
import { innerPath, publicFrame } from './upstream-path.ts';
import { joinUpgrade } from './upgrade.ts';

/** Answers an exchange; never throws. */
export function handleExchange(exchange: Exchange, deps: HandlerDeps): void {
  const work = new Work(exchange, deps);
  try {
    work.run();
  } catch (error) {
    work.crash(error);
  }
}

/** One request on its way. */
class Work implements OpenStream, ExchangeOwner, ForwardEvents {
  slot = -1;
  kind: 'request' | 'upgrade' = 'request';
  confirmAt = Infinity;
  readonly #exchange: Exchange;
  readonly #deps: HandlerDeps;
  readonly #id: string;
  readonly #started: number;
  readonly #wall: number;
  #sourceIp: string;
  /** Whether the peer is a proxy that is believed, and what it says then. */
  #trusted = false;
  #chain: ProxyChain | undefined;
  #subject: Subject | undefined;
  #input: RequestInput | undefined;
  #route: ServiceRoute | undefined;
  #innerPath = '';
  #verdict: Verdict | undefined;
  readonly #trace: Trace | undefined;
  #status = 0;
  #reason = '';
  /** When it was decided to forward it; zero before. */
  #allowedAt = 0;
  #dialledAt = 0;
  #upstream: string | undefined;
  #accessMs: number | undefined;
  #dialMs: number | undefined;
  #firstByteMs: number | undefined;
  #gone = false;
  #closeUpgrade: (() => void) | undefined;
  #standing: StandingTrust | undefined;
  #identityLines = '';
  /** The service among whose requests this one is counted. */
  #entered: ServiceId | undefined;

  constructor(exchange: Exchange, deps: HandlerDeps) {
    this.#exchange = exchange;
    this.#deps = deps;
    this.#id = deps.ids.next();
    this.#started = deps.clock.now();
    this.#wall = deps.clock.wall();
    this.#sourceIp = exchange.client.remote.address;
    this.#trace = deps.tracing === undefined ? undefined : beginTrace(exchange, deps.tracing, deps.trustedProxies);
    exchange.owner = this;
  }

  run(): void {
    const { client, request } = this.#exchange;
    const { trustedProxies, routes } = this.#deps;
    this.#trusted = isTrustedPeer(client, trustedProxies);
    this.#chain = this.#trusted ? readChain(request.fields) : undefined;
    const address = this.#trusted ? clientAddress(client.remote.address, this.#chain?.nodes, trustedProxies) : client.peer;
    if (address !== undefined) this.#sourceIp = address.text;
    const subject = readSubject(request, client, address?.ip, routes());
    if (typeof subject === 'string') return this.#refuse('bad_request', subject);
    this.#subject = subject;
    this.#route = subject.route;
    const input = (this.#input = new RequestInput(subject, this.#deps));
    const token = diagnosisToken(subject);
    if (token === undefined) return this.#atDoor(input);
    this.#later(diagnose(this.#exchange, subject, token, this.#deps), (steps) => {
      if (steps === undefined) return this.#atDoor(input);
      this.#own({ status: 200, reason: 'diagnosis', send: () => respondPrivate(this.#exchange, { steps }) });
    });
  }

  #atDoor(input: RequestInput): void {
    const verdict = runChecks(doorChecks, input);
    if (verdict instanceof Promise) this.#later(verdict, (found) => this.#throughDoor(found, input));
    else this.#throughDoor(verdict, input);
  }

  #throughDoor(verdict: Verdict | undefined, input: RequestInput): void {
    if (verdict !== undefined) return this.#decided(verdict, input);
    if (isOwnPath(input.subject.path)) return this.#ownPath(input);
    const proof = runChecks(proofChecks, input);
    if (proof instanceof Promise) this.#later(proof, (found) => this.#decided(found ?? undecided, input));
    else this.#decided(proof ?? undecided, input);
  }

  crash(error: unknown): void {
    this.#deps.log.error('request failed', { id: this.#id, error: describeError(error) });
    // A page of ours must not end up within an answer that has begun.
    if (this.#status === 0) this.#refuse('internal_error', '');
    else this.#exchange.abort();
  }

  /** Goes on with a value that has to be waited for; what fails meanwhile ends as an internal error. */
  #later<T>(value: Promise<T>, proceed: (value: T) => void): void {
    value.then((result) => (this.#gone ? undefined : proceed(result))).catch((error: unknown) => this.crash(error));
  }

  #decided(found: Verdict, input: RequestInput): void {
    const { subject } = input;
    const verdict = admittedRate(input, found) ?? found;
    this.#verdict = verdict;
    switch (verdict.kind) {
      case 'allow':
        this.#reason = verdict.reason;
        this.#allowedAt = this.#deps.clock.now();
        this.#accessMs = this.#allowedAt - this.#started;
        return this.#forward(subject, verdict);
      case 'deny':
        return this.#refuse(verdict.reason, verdict.detail);
      case 'challenge': {
        const answer = askToProve(this.#exchange, this.#deps, new Place(subject), subject, verdict, input.signal, this.#id);
        if (answer === undefined) return this.#refuse(verdict.reason, '', verdict.asked);
        return this.#later(answer, ({ failure, ...told }) => {
          this.#own(told);
          if (failure !== undefined) this.#tell('auth_unavailable', failure);
        });
      }
    }
  }

  #ownPath(input: RequestInput): void {
    const done = answerOwnPath(this.#exchange, this.#deps, new Place(input.subject), input, this.#id);
    this.#later(done, (answer) => this.#own(answer));
  }

  #own({ status, reason, send }: OwnAnswer): void {
    this.#status = status;
    this.#reason = reason;
    send();
  }

  #forward(subject: Subject, verdict: Verdict & { kind: 'allow' }): void {
    const route = this.#route;
    if (route === undefined) return this.#refuse('no_route', '');
    if (route.kind === 'answer') return this.#answer(subject, route);
    if (route.kind === 'unlock') return this.#unlock(subject, route, verdict);
    const inner = innerPath(route.paths, subject.path);
    if (inner === undefined) return this.#refuse('bad_request', 'path_not_rewritten');
    this.#innerPath = inner;
    if (!this.#enter(route)) return this.#refuse('service_busy', '');
    this.#deps.streams.add(this);
    const identity = this.#deps.identityHeaders.lines(verdict.identity, new Place(subject));
    if (typeof identity === 'string') this.#send(identity);
    else this.#later(identity, (lines) => this.#send(lines));
  }

  /** Takes a place among the service's requests, where they are numbered; false where all are taken. */
  #enter({ service }: Route): boolean {
    const { maxConcurrent } = service.mapping.web.limits;
    if (maxConcurrent === undefined || this.#entered !== undefined) return true;
    if (!this.#deps.load.enter(service.id, maxConcurrent)) return false;
    this.#entered = service.id;
    return true;
  }

  /** Of a stream service's page. */
  #unlock(subject: Subject, { service }: UnlockRoute, verdict: Verdict & { kind: 'allow' }): void {
    if (this.#deps.routes().serviceById(service.id)?.access !== service.access) return this.#again();
    // Its own address would open the port for everybody behind it.
    if (this.#trusted && this.#chain === undefined) return this.#refuse('ip_denied', 'the proxy before us does not say whose request it is');
    this.#status = 200;
    const refused = unlockPort(this.#exchange, subject, service, verdict, this.trustKey, this.#deps);
    if (refused !== undefined) this.#refuse(refused.reason, refused.detail);
  }

  /** Of a route without a target. */
  #answer(subject: Subject, { answer, prefix, edits }: AnsweredRoute): void {
    if (answer.kind === 'broken') return this.#refuse('internal_error', answer.problem);
    const { path, query } = subject;
    const location = answer.kind === 'redirect' ? redirectLocation(answer, new Place(subject).origin, path.slice(prefix.length), query) : '';
    this.#status = answer.status;
    giveAnswer(this.#exchange, answer, location, edits?.headers, behindDevice(subject));
  }

  #send(identity: string): void {
    const { request } = this.#exchange;
    const current = this.currentRoute();
    if (current === undefined) return this.#again();
    this.#route = current;
    if (visitedBefore(joinedValue(request.fields, 'via'))) return this.#refuse('loop', 'Via names us');
    this.#identityLines = identity;
    const order = { exchange: this.#exchange, route: current, source: this.#sourceIp, upgrade: allowedUpgrade(request.upgrade) };
    Forward.start(this.#deps.forward, order, this);
  }

  // Of the forward.

  currentRoute(): Route | undefined {
    return this.#routeIn(this.#deps.routes());
  }

  visitor(by: 'cookie' | 'address'): string | undefined {
    return by === 'cookie' ? this.#subject?.cookies.visitor : callerNetwork(this.#sourceIp);
  }

  head(target: RouteTarget): string {
    const [subject, route] = this.#admitted();
    this.#upstream = target.upstream.address;
    const { request, client } = this.#exchange;
    return (
      upstreamHead(subject, route, target, this.#innerPath, this.#deps.forward.policy) +
      forwardingLines({
        peer: client.remote.address,
        source: this.#sourceIp,
        authority: request.authority,
        tls: client.serverName !== undefined,
        trusted: this.#trusted ? { fields: request.fields, chain: this.#chain } : undefined,
      }) +
      `Via: ${via}\r\nX-Request-Id: ${this.#id}\r\n${this.#trace?.lines ?? ''}${route.customHeaders}${this.#identityLines}`
    );
  }

  edit(fields: Fields, edits: AnswerEdits | undefined, target: RouteTarget): void {
    const [subject, route] = this.#admitted();
    if (edits !== undefined) {
      editAnswer(fields, edits, {
        frame: publicFrame(route.paths, target.basePath),
        upstream: target.upstream,
        origin: new Place(subject).origin,
        authority: this.#exchange.request.authority,
        host: subject.host,
        path: subject.path,
        innerPath: target.basePath + this.#innerPath,
      });
    }
    const behind = behindDevice(subject);
    if (behind !== undefined) keepBehind(fields, behind);
  }

  dialling(target: RouteTarget): void {
    this.#upstream = target.upstream.address;
    this.#dialledAt = this.#deps.clock.now();
  }

  dialled(): void {
    this.#dialMs = this.#deps.clock.now() - this.#dialledAt;
  }

  answered(status: number): void {
    this.#status = status;
    this.#firstByteMs = this.#deps.clock.now() - this.#allowedAt;
  }

  failed(reason: OwnReason, detail: string): void {
    this.#refuse(reason, detail);
  }

  broken(reason: OwnReason, detail: string): void {
    this.#reason = reason;
    this.#deps.log.debug('answer broke off', { id: this.#id, reason, detail });
    this.#exchange.abort();
  }

  switched(head: ResponseHead, stream: Duplex): void {
    this.#firstByteMs = this.#deps.clock.now() - this.#allowedAt;
    const [, route] = this.#admitted();
    joinUpgrade(this.#exchange, head, stream, route.edits?.headers?.names ?? noFields, route.service.mapping.web.limits.idleMs ?? UPGRADE_IDLE_MS, {
      begun: (close) => {
        this.kind = 'upgrade';
        this.#status = 101;
        this.#closeUpgrade = close;
        this.#standing = new StandingTrust(this.#deps.clock.now());
        this.confirmAt = this.#deps.clock.now() + CONFIRM_MS;
        // The sweep after the change has seen a request, which may end under its old route; an upgraded stream may not.
        if (!this.keptBy(this.#deps.routes())) this.close('rule_denied');
      },
      ended: (down, up) => this.#done(down, up),
      failed: (reason, detail) => this.#refuse(reason, detail),
    });
  }

  // Of the exchange.

  exchangeAborted(): void {
    this.#gone = true;
  }

  exchangeDone(bytesDown: number, bytesUp: number): void {
    this.#done(bytesDown, bytesUp);
  }

  /** The routes have changed while something was waited for: what was decided is worth nothing. */
  #again(): void {
    this.#deps.streams.remove(this);
    this.#verdict = undefined;
    this.run();
  }

  #refuse(reason: OwnReason, detail: string, asked?: ProofAlternatives): void {
    if (this.#gone) return;
    this.#reason = reason === 'bad_request' ? detail : reason;
    this.#status = reasonStatus(reason);
    this.#tell(reason, detail);
    const answer = (diagnosis?: Diagnosis): void =>
      respondOwn(this.#exchange, this.#deps.pages, {
        reason,
        id: this.#id,
        allow: this.#subject?.methods,
        retryAfterMs: this.#verdict?.retryAfterMs,
        asked,
        basicRealm: this.#subject?.service?.credentials?.basic === true ? this.#subject.host : undefined,
        diagnosis,
      });
    const told = administratorAsks(this.#input, this.#verdict);
    const explain = (administrator: boolean): void => answer(administrator ? this.#diagnosis(reason, detail) : undefined);
    if (typeof told === 'boolean') explain(told);
    else this.#later(told, explain);
  }

  #diagnosis(reason: OwnReason, detail: string): Diagnosis {
    return diagnosisOf(this.#id, reason, detail, this.#times(), this.#upstream);
  }

  #times(): StageTimes {
    return { accessMs: this.#accessMs, dialMs: this.#dialMs, firstByteMs: this.#firstByteMs };
  }

  #tell(reason: OwnReason, detail: string): void {
    const host = this.#subject?.host ?? this.#exchange.client.serverName;
    this.#deps.refusals.request(reason, this.#status, { id: this.#id, host, service: this.#subject?.service?.id, detail });
  }

  #done(bytesDown: number, bytesUp: number): void {
    this.#deps.streams.remove(this);
    if (this.#entered !== undefined) this.#deps.load.leave(this.#entered);
    this.#entered = undefined;
    const { request, fault } = this.#exchange;
    const identity = this.identity;
    this.#deps.accessLog({
      id: this.#id,
      ...requestFacts(request, this.#subject),
      timestamp: this.#wall,
      durationMs: this.#deps.clock.now() - this.#started,
      // 499: the client went away before there was an answer.
      status: fault !== undefined ? 400 : this.#status === 0 ? 499 : this.#status,
      sourceIp: this.#sourceIp,
      userId: identity?.userId ?? '',
      authMethod: identity === undefined ? '' : authMethodOf(identity),
      authSuccess: this.#verdict?.kind === 'allow',
      bytesUp,
      bytesDown,
      rule: this.#verdict?.rule,
      observed: this.#input?.observed,
      trace: this.#trace,
      upstream: this.#upstream,
      ...this.#times(),
      reason: fault ?? (this.#reason === '' ? 'client_closed' : this.#reason),
    });
  }

  // As an open stream, for whoever ends trust.

  get serviceId(): OpenStream['serviceId'] {
    return this.#admitted()[1].service.id;
  }

  keptBy(routes: RouteTable): boolean {
    return this.#routeIn(routes) !== undefined;
  }

  get asksWhen(): boolean {
    return this.#subject?.service?.policy.asksWhen === true;
  }

  refusalUnder(routes: RouteTable, again: boolean): DenyReason | undefined {
    const before = this.#subject?.service;
    const service = before === undefined ? undefined : routes.serviceById(before.id);
    if (service === undefined) return 'unknown_host';
    return service === before && !again ? undefined : this.#refusalBy(service);
  }

  /** Why that version of its service does not let in what was proven; one that does is the one that counts from now on. */
  #refusalBy(service: PublishedService): DenyReason | undefined {
    const subject = this.#subject;
    if (subject?.service === undefined || subject.service.home !== service.home) return 'unknown_host';
    const now = { ...subject, service };
    const refusal = standingRefusal(new RequestInput(now, this.#deps), this.#verdict);
    if (refusal === undefined) this.#subject = now;
    return refusal;
  }

  get identity(): OpenStream['identity'] {
    return this.#verdict?.kind === 'allow' ? this.#verdict.identity : undefined;
  }

  get session(): OpenStream['session'] {
    return this.#verdict?.session;
  }

  restsOn(key: string): boolean {
    return this.trustKey === key || memberKey(this.#subject) === key || this.#verdict?.trustKeys?.includes(key) === true;
  }

  get trustKey(): string | undefined {
    if (this.#verdict?.reason === 'credential') return this.#verdict.trustKeys?.[0];
    const plain = credentialOf(this.#verdict, this.#subject);
    return plain === undefined ? undefined : sessionKey(plain);
  }

  confirm(now: number): void {
    const subject = this.#subject;
    if (subject === undefined) return this.close('session_revoked');
    this.confirmAt = now + CONFIRM_MS;
    const judge = (verdict: Verdict | undefined): void => {
      if (this.#standing?.stands(verdict, this.#deps.clock.now()) !== true) this.close('session_revoked');
    };
    const verdict = runChecks(proofChecks, new RequestInput(subject, this.#deps));
    if (verdict instanceof Promise) verdict.then(judge).catch(() => this.close('session_revoked'));
    else judge(verdict);
  }

  close(reason: DenyReason): void {
    this.#reason = reason;
    if (this.#closeUpgrade === undefined) this.#exchange.abort();
    else this.#closeUpgrade();
  }

  /** Only what has a subject and a route is forwarded. */
  #admitted(): [Subject, Route] {
    const subject = this.#subject;
    const route = this.#route;
    if (subject === undefined || route?.kind !== 'forward') throw new TypeError('an exchange without a route is not forwarded');
    return [subject, route];
  }

  /** Its route in that table, where it leads the same way and lets the same in. */
  #routeIn(routes: RouteTable): Route | undefined {
    const [subject, route] = this.#admitted();
    const service = routes.service(subject.host);
    if (service === route.service) return route;
    if (service?.id !== route.service.id || (service.access !== subject.service?.access && this.#refusalBy(service) !== undefined)) return undefined;
    const found = findRoute(service, subject.path, subject.request);
    return found?.kind === 'forward' && found.fingerprint === route.fingerprint ? found : undefined;
  }
}

const undecided: Verdict = { kind: 'deny', reason: 'internal_error', detail: 'no check decided' };
