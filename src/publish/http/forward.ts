// One request forwarded: it goes to its target, the answer comes back, both as streams that hold each other back.
import type { Duplex } from 'node:stream';
import { errorCode } from '#lib/errors.ts';
import type { WebLimits } from '#model/web.ts';
import { fieldValue, joinedValue, listMembers, type Fields } from '#wire/http1-fields.ts';
import type { ResponseHead } from '#wire/http1-head.ts';
import { ownCookie, visitorCookie } from '../access/cookies.ts';
import type { OwnReason } from '../pages/reasons.ts';
import { ANSWER_MS, CONTINUE_MS, PATH_CHECK_MS } from '../constants.ts';
import type { AnswerEdits } from './answer-edits.ts';
import type { Deadlined, Deadlines } from './deadlines.ts';
import { dialReason } from './dial-reason.ts';
import { codeAnswer } from './content-coding.ts';
import type { EncodedBody, Encoders } from './encoded-body.ts';
import type { AnswerSource, BodySink, Exchange, ExchangeRequest } from './exchange.ts';
import type { Hash } from '../balance/hash.ts';
import { upstreamAnswer } from './upstream-answer.ts';
import { addressVisitor, formatVisitor, parseVisitor } from '../balance/visitor.ts';
import type { Balancers, RouteBalancer, RouteMember } from './balance/balancers.ts';
import { noFields, type FieldClass } from './field-class.ts';
import { responseFields, safeTrailers, type RequestFieldPolicy } from './headers.ts';
import { HeldBody } from './held-body.ts';
import type { Route, RouteTarget } from './routes.ts';
import type { AnswerReceiver, UpstreamFailure, UpstreamLink } from './upstream-link.ts';
import { ownUpstream, type UpstreamTarget } from './upstream-target.ts';
import type { Upstreams, UpstreamUse } from './upstreams.ts';

export interface ForwardDeps {
  readonly upstreams: Upstreams;
  readonly deadlines: Deadlines;
  readonly policy: RequestFieldPolicy;
  readonly encoders: Encoders;
  readonly balancers: Balancers;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** What the handler hands over: everything that was decided. */
export interface ForwardOrder {
  readonly exchange: Exchange;
  readonly route: Route;
  /** The client's address, as far as proxies before us are believed. */
  readonly source: string;
  /** The upgrade's protocol, or undefined. */
  readonly upgrade: string | undefined;
}

export interface ForwardEvents {
  /** The route as it is now: the table may have changed since the request began. Undefined where it has none any more. */
  currentRoute(): Route | undefined;
  /** What a sticky service knows the visitor by: the value of its cookie, or the network that it comes from. */
  visitor(by: 'cookie' | 'address'): string | undefined;
  /** The whole head for the target but framing fields and the empty line. */
  head(target: RouteTarget): string;
  /** Makes the route's edits, if any, in the head of a final answer, in place, and those that the request asks for. */
  edit(fields: Fields, edits: AnswerEdits | undefined, target: RouteTarget): void;
  /** A connection to the target is being opened, and was; neither is told where one was kept. */
  dialling(target: RouteTarget): void;
  dialled(): void;
  /** The answer's head came. */
  answered(status: number): void;
  /** Nothing has been answered yet, and nothing will come from the upstream. */
  failed(reason: OwnReason, detail: string): void;
  /** The answer broke off after its head. */
  broken(reason: OwnReason, detail: string): void;
  /** 101: the upstream's side of the stream. */
  switched(head: ResponseHead, stream: Duplex): void;
}

const idempotent = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'PROPFIND', 'REPORT', 'SEARCH']);

/** Failures that are not the target's. */
const innocent: ReadonlySet<OwnReason> = new Set(['upstream_busy', 'draining', 'body_too_large']);

export class Forward implements AnswerReceiver, AnswerSource, BodySink, Deadlined {
  slot = -1;
  deadline: number;
  readonly #deps: ForwardDeps;
  readonly #order: ForwardOrder;
  readonly #events: ForwardEvents;
  /** When the head of the answer has to be there. */
  #limit: number;
  readonly #limits: WebLimits;
  /** Statuses that another target may do better than. */
  readonly #retryOn: readonly number[];
  #bodyBytes = 0;
  /** When the body is asked for also without the upstream's word; Infinity where that is not awaited. */
  #continueBy = Infinity;
  #target: RouteTarget;
  /** Where there was a choice: what was chosen, by whom, for which visitor, and what was tried before. */
  #member: RouteMember | undefined;
  #balancer: RouteBalancer | undefined;
  #visitor: Hash | undefined;
  #tried: Set<RouteMember> | undefined;
  readonly #use: UpstreamUse;
  readonly #signsIn: boolean;
  #connection: UpstreamLink | undefined;
  /** Made where a connection has to be dialled. */
  #abort: AbortController | undefined;
  #encoded: EncodedBody | undefined;
  #answered = false;
  /** Something of the request went to a target, of its body to the last one. */
  #sent = false;
  #reading = false;
  #held: HeldBody | undefined;
  #trailers: Fields | undefined;
  #requestOver = false;
  #over = false;
  /** Retries that count, and whether the one that does not has been used. */
  #retries = 0;
  #renewed = false;

  /** Begins at once; everything that comes of it is told through `events` and the exchange. */
  static start(deps: ForwardDeps, order: ForwardOrder, events: ForwardEvents): void {
    new Forward(deps, order, events).#begin();
  }

  private constructor(deps: ForwardDeps, order: ForwardOrder, events: ForwardEvents) {
    this.#deps = deps;
    this.#order = order;
    this.#events = events;
    const { route } = order;
    this.#target = route.shared ? this.#choose(route) : route.targets[0];
    route.service.retryBudget.earn();
    const now = deps.deadlines.now();
    this.#limits = route.service.mapping.web.limits;
    this.#retryOn = route.service.mapping.web.retryOn;
    this.#limit = now + (statedAnswerMs(route) ?? ANSWER_MS);
    this.deadline = Math.min(this.#limit, now + PATH_CHECK_MS);
    deps.deadlines.add(this);
    this.#signsIn = signsConnectionIn(order.exchange.request.fields);
    const websocket = order.upgrade?.toLowerCase() === 'websocket';
    this.#use = this.#signsIn || (order.upgrade !== undefined && !websocket) ? 'own-connection' : websocket ? 'websocket' : 'request';
    order.exchange.source = this;
  }

  #begin(): void {
    if (!this.#takesBody(this.#order.exchange.request.length ?? 0)) return this.#fail('body_too_large', 'stated so');
    const kept = this.#deps.upstreams.take(this.#upstream, this.#use);
    if (kept === undefined) this.#dial();
    else this.#send(kept);
  }

  get #upstream(): UpstreamTarget {
    return ownUpstream(this.#target.upstream, this.#order.exchange.client, this.#order.source);
  }

  clientDrained(): void {
    if (this.#encoded === undefined) this.#connection?.resumeAnswer();
    else this.#encoded.clientDrained();
  }

  /** Ends it without telling anybody. */
  clientGone(): void {
    if (this.#over) return;
    this.#settle();
    this.#encoded?.destroy();
    this.#abort?.abort();
    this.#connection?.destroy();
  }

  expire(now: number): void {
    if (this.#answered) return this.#fail('upstream_timeout', 'nothing came either way');
    if (now >= this.#continueBy) this.#continue();
    if (now >= this.#limit) this.#lost('upstream_timeout', 'no answer in time');
    else if (!this.#deps.upstreams.reachable(this.#target.upstream)) this.#lost('upstream_unreachable', 'the path to it was lost');
    else this.deadline = Math.min(this.#limit, now + PATH_CHECK_MS, this.#continueBy);
  }

  #choose(route: Route): RouteTarget {
    const { balancers, deadlines, random } = this.#deps;
    const balancer = balancers.of(route);
    const { sticky } = balancer.rules.balancing;
    const known = sticky === 'off' ? undefined : this.#events.visitor(sticky);
    this.#visitor = known === undefined ? undefined : sticky === 'cookie' ? parseVisitor(known) : addressVisitor(known);
    const now = deadlines.now();
    const member = balancer.choose(now, random, this.#visitor, this.#tried) ?? balancer.choose(now, random, this.#visitor, undefined);
    if (member === undefined) return route.targets[0];
    member.health.inFlight++;
    this.#balancer = balancer;
    this.#member = member;
    return member.target;
  }

  #dial(): void {
    const abort = new AbortController();
    this.#abort = abort;
    this.#events.dialling(this.#target);
    this.#deps.upstreams.connect(this.#upstream, this.#use, abort.signal, this.#renewed).then(
      (connection) => {
        if (this.#over || this.#abort !== abort) return connection.destroy();
        this.#events.dialled();
        this.#send(connection);
      },
      (error: unknown) => {
        if (this.#over || this.#abort !== abort) return;
        this.#lost(dialReason(error), error instanceof Error ? `${errorCode(error) ?? ''} ${error.message}`.trim() : String(error));
      },
    );
  }

  /** This attempt has failed. The next one goes to another target, or to the same by a new connection; where there is none, the request fails. */
  #lost(reason: OwnReason, detail: string): void {
    if (this.#over) return;
    // Where its route has gone, or lets others in, nothing more is sent under it.
    const route = this.#mayRepeat() ? this.#events.currentRoute() : undefined;
    if (route === undefined) return this.#fail(reason, detail);
    this.#blame(reason);
    this.#repeat(route, reason, detail);
  }

  #repeat(route: Route, reason: OwnReason, detail: string): void {
    this.#abort?.abort();
    this.#connection?.destroy();
    this.#connection = undefined;
    this.#retries++;
    if (this.#member !== undefined) (this.#tried ??= new Set()).add(this.#member);
    this.#release();
    this.#target = route.shared ? this.#choose(route) : route.targets[0];
    if (!this.#deps.upstreams.reachable(this.#target.upstream)) {
      this.#release();
      return this.#fail(reason, detail);
    }
    this.deadline = Math.min(this.#limit, this.#deps.deadlines.now() + PATH_CHECK_MS);
    this.#dial();
  }

  #mayRepeat(): boolean {
    const { service } = this.#order.route;
    const now = this.#deps.deadlines.now();
    return (
      !this.#answered && this.#retries < service.mapping.web.retries && now < this.#limit && this.#isRepeatable() && service.retryBudget.spend(now)
    );
  }

  /** Whether sending it again does nothing twice (RFC 9110 §9.2.2), and all of it is still here. */
  #isRepeatable(): boolean {
    return !this.#sent || (idempotent.has(this.#order.exchange.request.method) && this.#holdsBody());
  }

  #holdsBody(): boolean {
    return !this.#reading || this.#held?.whole === true;
  }

  #blame(reason: OwnReason): void {
    if (this.#member !== undefined && !innocent.has(reason))
      this.#balancer?.failed(this.#member, this.#deps.deadlines.now(), reason.replace('upstream_', ''));
  }

  #release(): void {
    if (this.#member !== undefined) this.#member.health.inFlight--;
    this.#member = undefined;
  }

  #send(connection: UpstreamLink): void {
    this.#connection = connection;
    this.#sent = true;
    const { exchange, upgrade } = this.#order;
    const plain = this.#events.head(this.#target);
    const head = takesTrailers(exchange.request) ? `${plain}TE: trailers\r\nConnection: TE\r\n` : plain;
    const length = exchange.request.length;
    if (this.#signsIn) connection.retire();
    if (upgrade !== undefined) {
      connection.send(`${plain}Connection: Upgrade\r\nUpgrade: ${upgrade}\r\n\r\n`, exchange.request.method, 'none', true, this);
    } else if (length === 0) {
      // A method that usually has content says that it has none; GET and its like say nothing (RFC 9110 §8.6).
      const none = exchange.request.method === 'POST' || exchange.request.method === 'PUT' || exchange.request.method === 'PATCH';
      connection.send(none ? `${head}Content-Length: 0\r\n\r\n` : `${head}\r\n`, exchange.request.method, 'none', false, this);
    } else {
      const framing = length === undefined ? 'Transfer-Encoding: chunked' : `Content-Length: ${length}`;
      const expect = !this.#reading && expectsContinue(exchange.request) ? 'Expect: 100-continue\r\n' : '';
      connection.send(`${head}${expect}${framing}\r\n\r\n`, exchange.request.method, length === undefined ? 'chunked' : 'length', false, this);
      if (this.#reading) this.#sendHeld(connection);
      else if (expect === '') this.#readBody();
      else this.#awaitContinue();
      // A body may come only after its answer has begun.
      connection.flushRequest();
    }
  }

  /** The upstream is given the choice that the client gives (RFC 9110 §10.1.1): its answer may come without the body. */
  #awaitContinue(): void {
    this.#continueBy = this.#deps.deadlines.now() + CONTINUE_MS;
    this.deadline = Math.min(this.deadline, this.#continueBy);
  }

  #continue(): void {
    if (this.#continueBy === Infinity) return;
    this.#continueBy = Infinity;
    if (!this.#reading) this.#readBody();
  }

  #takesBody(bytes: number): boolean {
    return this.#limits.maxBodyBytes === undefined || bytes <= this.#limits.maxBodyBytes;
  }

  /** Something moved. */
  #stir(): void {
    if (this.#answered) {
      if (this.#limits.idleMs !== undefined) this.deadline = this.#deps.deadlines.now() + this.#limits.idleMs;
    } else if (statedAnswerMs(this.#order.route) === undefined) {
      // A long upload is no slow answer, unless somebody says so.
      this.#limit = this.#deps.deadlines.now() + ANSWER_MS;
    }
  }

  #readBody(): void {
    const { exchange, route } = this.#order;
    this.#reading = true;
    if (route.service.mapping.web.retries > 0 && idempotent.has(exchange.request.method)) this.#held = new HeldBody();
    exchange.readBody(this);
  }

  /** The body again, as far as it has come; then the rest. */
  #sendHeld(connection: UpstreamLink): void {
    this.#held?.replay((payload) => connection.writeBody(payload));
    if (this.#requestOver) return connection.endBody(this.#trailers);
    connection.flushRequest();
    this.#order.exchange.resumeBody();
  }

  // The request's body, from the client.

  write(payload: Buffer): boolean {
    if (this.#over) return true;
    this.#bodyBytes += payload.length;
    if (!this.#takesBody(this.#bodyBytes)) {
      this.#fail('body_too_large', 'found so');
      return true;
    }
    this.#stir();
    this.#held?.add(payload);
    if (this.#connection !== undefined) return this.#connection.writeBody(payload);
    // Between two attempts: what cannot be held cannot be sent again either.
    if (!this.#holdsBody()) this.#fail('upstream_closed', 'the body grew too long to be sent again');
    return false;
  }

  flush(): void {
    if (!this.#over) this.#connection?.flushRequest();
  }

  end(trailers: Fields | undefined): void {
    this.#requestOver = true;
    this.#trailers = safeTrailers(trailers, this.#deps.policy, this.#order.route.customKeys);
    if (!this.#over) this.#connection?.endBody(this.#trailers);
  }

  fail(): void {
    this.clientGone();
  }

  requestDrain(): void {
    if (!this.#requestOver) this.#order.exchange.resumeBody();
  }

  // The answer, from the upstream.

  interim(head: ResponseHead): void {
    if (this.#over) return;
    // The client's 100 is sent with the first look at its body; other interim answers (103) are passed on.
    if (head.status === 100) this.#continue();
    else this.#order.exchange.inform(head.status, responseFields(head.fields, this.#without()));
  }

  answerHead(head: ResponseHead): void {
    if (this.#retryOn.includes(head.status) && this.#passesOver(head.status)) return;
    this.#answered = true;
    this.#continueBy = Infinity;
    this.deadline = Infinity;
    this.#stir();
    this.#events.answered(head.status);
    const { edits } = this.#order.route;
    const fields = responseFields(head.fields, this.#without());
    this.#events.edit(fields, edits, this.#target);
    if (this.#member !== undefined) this.#greet(this.#member, fields, head.status);
    const { exchange } = this.#order;
    const answer = upstreamAnswer(head, fields);
    if (!this.#order.route.compression) return exchange.answer(answer);
    const coded = codeAnswer(exchange.request, answer, this.#deps.encoders.busy);
    exchange.answer(coded.answer);
    if (coded.coding !== undefined) this.#encoded = this.#deps.encoders.start(exchange, coded.coding, () => this.#connection?.resumeAnswer());
  }

  /** Whether another target is asked instead of passing this answer on: one that is well, and nothing is done twice. */
  #passesOver(status: number): boolean {
    const [balancer, member] = [this.#balancer, this.#member];
    if (balancer === undefined || member === undefined) return false;
    const now = this.#deps.deadlines.now();
    balancer.failed(member, now, `status ${status}`);
    if (!balancer.hasOther(member, now, this.#tried) || !this.#mayRepeat()) return false;
    const route = this.#events.currentRoute();
    if (route === undefined) return false;
    this.#repeat(route, 'upstream_closed', `it answered ${status}, and the next one could not be reached`);
    return true;
  }

  /** What the route takes out of answers. */
  #without(): FieldClass {
    return this.#order.route.edits?.headers?.names ?? noFields;
  }

  /** The target is well; and the visitor of a sticky service is given what leads to it again. */
  #greet(member: RouteMember, fields: Fields, status: number): void {
    const balancer = this.#balancer;
    if (!this.#retryOn.includes(status)) member.health.succeeded(this.#deps.deadlines.now());
    if (balancer === undefined || balancer.rules.balancing.sticky !== 'cookie') return;
    if (this.#visitor !== undefined && balancer.belongs(this.#visitor, member)) return;
    const visitor = balancer.visitorFor(member, this.#deps.random);
    if (visitor === undefined) return;
    fields.names.push('Set-Cookie');
    fields.keys.push('set-cookie');
    fields.values.push(ownCookie(visitorCookie, formatVisitor(visitor), undefined));
  }

  answerData(payload: Buffer, lent = false): boolean {
    if (this.#over) return true;
    this.#stir();
    return (this.#encoded ?? this.#order.exchange).write(payload, lent);
  }

  answerFlush(): void {
    if (!this.#over && this.#answered) (this.#encoded ?? this.#order.exchange).flush();
  }

  answerEnd(trailers: Fields | undefined): void {
    if (this.#over) return;
    this.#settle();
    (this.#encoded ?? this.#order.exchange).end(safeTrailers(trailers, this.#deps.policy, this.#without()));
  }

  switched(head: ResponseHead, stream: Duplex): void {
    if (this.#over) {
      stream.destroy();
      return;
    }
    this.#member?.health.succeeded(this.#deps.deadlines.now());
    this.#settle();
    this.#events.switched(head, stream);
  }

  answerFailed(failure: UpstreamFailure, detail: string): void {
    if (this.#over) return;
    this.#connection = undefined;
    const harmless = (failure === 'unprocessed' && this.#holdsBody()) || (failure === 'stale' && this.#isRepeatable());
    if (harmless && !this.#renewed && !this.#answered) {
      // The upstream closed a kept connection as we used it, or says that it has not looked at the request. Once, on a new connection.
      this.#renewed = true;
      return this.#dial();
    }
    this.#lost(failure === 'bad_answer' ? 'upstream_bad_answer' : 'upstream_closed', detail);
  }

  #fail(reason: OwnReason, detail: string): void {
    if (this.#over) return;
    this.#blame(reason);
    this.#settle();
    this.#encoded?.destroy();
    this.#abort?.abort();
    this.#connection?.destroy();
    if (this.#answered) this.#events.broken(reason, detail);
    else this.#events.failed(reason, detail);
  }

  #settle(): void {
    this.#over = true;
    this.#release();
    this.#deps.deadlines.remove(this);
    this.#order.exchange.source = undefined;
  }
}

/** Whether the upstream may take the whole connection for this user's from now on (NTLM, RFC 4559): then it must not serve another. */
function signsConnectionIn(fields: Fields): boolean {
  const authorization = fieldValue(fields, 'authorization');
  return authorization !== undefined && /^(?:ntlm|negotiate)(?:$|[ \t])/i.test(authorization);
}

/** From the request's head to the answer's, where the route or the service says it. */
function statedAnswerMs({ requestTimeoutMs, service }: Route): number | undefined {
  return requestTimeoutMs ?? service.mapping.web.limits.answerMs;
}

/** Whether the client waits for a word before it sends its body; HTTP/1.0 has none. Other expectations were refused. */
function expectsContinue({ version, fields }: ExchangeRequest): boolean {
  return version !== '1.0' && fieldValue(fields, 'expect')?.toLowerCase() === '100-continue';
}

/** Whether the client says that it reads trailers, which gRPC servers insist on; over HTTP/1.1 it says so to us only with Connection (RFC 9110 §10.1.4). */
function takesTrailers({ version, fields }: ExchangeRequest): boolean {
  const te = fieldValue(fields, 'te');
  if (te === undefined || !listMembers(te).includes('trailers')) return false;
  return version === '2' || listMembers(joinedValue(fields, 'connection') ?? '').includes('te');
}
