// A peer's calls about the services that it exposes: our own where the control plane has them, else those of NetBird's management service,
// as far as these can say what is asked for.
import type { DescMessage, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { errorCode } from '#lib/errors.ts';
import type { ExposeAnswer, ExposedService, ExposeRequest, OpenTo } from '#model/exposure.ts';
import type { UnaryMethod } from '#rpc/method.ts';
import {
  EmptySchema,
  type EncryptedMessageSchema,
  ExposeProtocol,
  ExposeServiceRequestSchema,
  ExposeServiceResponseSchema,
  ManagementService,
  RenewExposeRequestSchema,
  RenewExposeResponseSchema,
  StopExposeRequestSchema,
  StopExposeResponseSchema,
} from '#wire/proto/gen/management_pb.ts';
import { ExposeRequestSchema, type Exposure, ExposureRefSchema, ExposureSchema, PeerExposeService } from '#wire/proto/gen/meshgate_expose_pb.ts';
import { maxExposeText, stockExposeTtlMs } from './constants.ts';
import { controlError } from './errors.ts';
import { reasonOf } from './link.ts';

/** Answers that say: not before somebody changes something. */
const refusals: ReadonlySet<string> = new Set([
  'RPC_PERMISSION_DENIED',
  'RPC_INVALID_ARGUMENT',
  'RPC_ALREADY_EXISTS',
  'RPC_FAILED_PRECONDITION',
  'RPC_UNAUTHENTICATED',
]);

/** One sealed call; `output` undefined where the answer is not sealed. */
export type SealedCall = <I extends DescMessage, O extends DescMessage>(
  method: UnaryMethod<typeof EncryptedMessageSchema, typeof EncryptedMessageSchema>,
  inputDesc: I,
  input: MessageInitShape<I>,
  outputDesc: O,
  signal: AbortSignal,
) => Promise<MessageShape<O>>;

/** What a peer asks of the control plane. All reject where it cannot be reached. */
export interface ExposeControl {
  expose(request: ExposeRequest, signal: AbortSignal): Promise<ExposeAnswer>;
  renewExposure(id: string, signal: AbortSignal): Promise<ExposeAnswer>;
  /** One that is gone is no error. */
  stopExposure(id: string, signal: AbortSignal): Promise<void>;
}

/** Ids of services at a stock control plane, which knows them by their domain. */
const stockId = 'domain:';

export class ExposeCalls implements ExposeControl {
  readonly #call: SealedCall;
  /** What a stock control plane said of each service; it does not say it again. */
  readonly #stock = new Map<string, ExposedService>();

  constructor(call: SealedCall) {
    this.#call = call;
  }

  async expose(request: ExposeRequest, signal: AbortSignal): Promise<ExposeAnswer> {
    try {
      const { expose } = PeerExposeService.method;
      return { kind: 'open', service: serviceFrom(await this.#call(expose, ExposeRequestSchema, messageOf(request), ExposureSchema, signal)) };
    } catch (error) {
      if (errorCode(error) === 'RPC_UNIMPLEMENTED') return await this.#exposeStock(request, signal);
      // As many as it may: one has to end first.
      if (errorCode(error) === 'RPC_RESOURCE_EXHAUSTED') return { kind: 'refused', reason: reasonOf(error) };
      return refusalOf(error);
    }
  }

  async renewExposure(id: string, signal: AbortSignal): Promise<ExposeAnswer> {
    try {
      if (!id.startsWith(stockId)) {
        return {
          kind: 'open',
          service: serviceFrom(await this.#call(PeerExposeService.method.renew, ExposureRefSchema, { id }, ExposureSchema, signal)),
        };
      }
      const service = this.#stock.get(id);
      if (service === undefined) return { kind: 'lapsed' };
      const { renewExpose } = ManagementService.method;
      await this.#call(renewExpose, RenewExposeRequestSchema, { domain: service.domain }, RenewExposeResponseSchema, signal);
      return { kind: 'open', service };
    } catch (error) {
      if (errorCode(error) === 'RPC_NOT_FOUND') return { kind: 'lapsed' };
      if (errorCode(error) === 'RPC_FAILED_PRECONDITION') return { kind: 'withdrawn', reason: reasonOf(error) };
      return refusalOf(error);
    }
  }

  async stopExposure(id: string, signal: AbortSignal): Promise<void> {
    if (!id.startsWith(stockId)) return void (await this.#call(PeerExposeService.method.stop, ExposureRefSchema, { id }, EmptySchema, signal));
    this.#stock.delete(id);
    const domain = id.slice(stockId.length);
    try {
      await this.#call(ManagementService.method.stopExpose, StopExposeRequestSchema, { domain }, StopExposeResponseSchema, signal);
    } catch (error) {
      if (errorCode(error) !== 'RPC_NOT_FOUND') throw error;
    }
  }

  async #exposeStock(request: ExposeRequest, signal: AbortSignal): Promise<ExposeAnswer> {
    const missing = beyondStock(request);
    if (missing !== undefined) return { kind: 'refused', reason: `This control plane cannot expose services ${missing}.` };
    const { port, protocol, place, listenPort = 0, access } = request;
    const { groups = [], password = '', pin = '' } = access.kind === 'proof' ? access : {};
    const message = {
      port,
      protocol: stockProtocols[protocol],
      pin,
      password,
      userGroups: [...groups],
      domain: place.kind === 'random' ? (place.below ?? '') : '',
      namePrefix: place.kind === 'random' ? place.name : '',
      listenPort,
    };
    try {
      const { createExpose } = ManagementService.method;
      const answer = await this.#call(createExpose, ExposeServiceRequestSchema, message, ExposeServiceResponseSchema, signal);
      const proof = access.kind === 'proof';
      const service: ExposedService = {
        id: `${stockId}${answer.domain}`,
        name: text(answer.serviceName),
        url: text(answer.serviceUrl),
        domain: text(answer.domain),
        ttlMs: stockExposeTtlMs,
        endsAt: undefined,
        state: '',
        reason: '',
        openTo: { everybody: !proof, signIn: groups.length > 0, groups, password: password !== '', pin: pin !== '' },
      };
      this.#stock.set(service.id, service);
      return { kind: 'open', service };
    } catch (error) {
      return refusalOf(error);
    }
  }
}

const stockProtocols: Readonly<Record<ExposeRequest['protocol'], ExposeProtocol>> = {
  http: ExposeProtocol.EXPOSE_HTTP,
  https: ExposeProtocol.EXPOSE_HTTPS,
  tcp: ExposeProtocol.EXPOSE_TCP,
  udp: ExposeProtocol.EXPOSE_UDP,
  tls: ExposeProtocol.EXPOSE_TLS,
};

/** What NetBird's words cannot say. What would come out more open than asked for is among it. */
function beyondStock({ host, place, access, endsAfterMs }: ExposeRequest): string | undefined {
  if (host !== undefined) return 'of other hosts';
  if (place.kind === 'exact') return 'under a name that is chosen';
  if (endsAfterMs !== undefined) return 'for a limited time';
  if (access.kind === 'proof' && access.signIn && access.groups.length === 0) return 'with sign-in but for groups that are named';
  return undefined;
}

function messageOf({ port, host, protocol, place, listenPort, access, endsAfterMs }: ExposeRequest): MessageInitShape<typeof ExposeRequestSchema> {
  const proof = access.kind === 'proof' ? access : undefined;
  return {
    port,
    host: host ?? '',
    protocol,
    name: place.kind === 'random' ? place.name : '',
    place:
      place.kind === 'exact'
        ? { case: 'domain', value: place.domain }
        : place.below === undefined
          ? { case: undefined }
          : { case: 'below', value: place.below },
    listenPort: listenPort ?? 0,
    public: access.kind === 'public',
    signIn: proof?.signIn ?? false,
    groups: [...(proof?.groups ?? [])],
    password: proof?.password ?? '',
    pin: proof?.pin ?? '',
    endsAfterMs: BigInt(endsAfterMs ?? 0),
  };
}

function serviceFrom(message: Exposure): ExposedService {
  const { id, name, url, domain, ttlMs, endsAt, state, reason, signIn, groups, password, pin } = message;
  const openTo: OpenTo = { everybody: message.public, signIn, groups: groups.map(text), password, pin };
  if (id === '' || url === '' || ttlMs <= 0n || ttlMs > 86_400_000n) throw controlError('CONTROL_ANSWER_INVALID', 'an exposed service');
  return {
    id: text(id),
    name: text(name),
    url: text(url),
    domain: text(domain),
    ttlMs: Number(ttlMs),
    endsAt: endsAt === 0n ? undefined : Number(endsAt),
    state: text(state),
    reason: text(reason),
    openTo,
  };
}

/** It is printed on terminals. */
function text(value: string): string {
  return value.slice(0, maxExposeText).replaceAll(/\p{C}/gu, '');
}

function refusalOf(error: unknown): ExposeAnswer {
  if (refusals.has(errorCode(error) ?? '')) return { kind: 'refused', reason: reasonOf(error) };
  throw error;
}
