// What peers publish by themselves: the management service's expose calls, as stock clients make them, and our own, which say more.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { exposeProtocols, type ExposeRequest } from '#model/exposure.ts';
import { asId, type ServiceId } from '#model/ids.ts';
import { defineService, type Handlers, type RpcService } from '#rpc/method.ts';
import {
  EmptySchema,
  ExposeProtocol,
  ExposeServiceRequestSchema,
  type ExposeServiceRequest,
  ExposeServiceResponseSchema,
  type ManagementService,
  RenewExposeRequestSchema,
  RenewExposeResponseSchema,
  StopExposeRequestSchema,
  StopExposeResponseSchema,
} from '#wire/proto/gen/management_pb.ts';
import {
  ExposeRequestSchema,
  type ExposeRequest as ExposeMessage,
  ExposureRefSchema,
  ExposureSchema,
  PeerExposeService,
} from '#wire/proto/gen/meshgate_expose_pb.ts';
import type { Exposure, ExposureUseCases } from '../domain/expose-contract.ts';
import { maxExposeText, maxExposeGroups } from './constants.ts';
import type { Envelopes } from './envelopes.ts';
import { managementError } from './errors.ts';

type Exposures = Omit<ExposureUseCases, 'reapLapsed'>;

/** CreateExpose, RenewExpose, StopExpose (netbird-wire §2.10). Stock clients know a service by its domain. */
export function stockExposeHandlers(
  exposures: Exposures,
  envelopes: Envelopes,
): Pick<Handlers<typeof ManagementService>, 'createExpose' | 'renewExpose' | 'stopExpose'> {
  return {
    createExpose: async (envelope, call) => {
      const { from, message } = envelopes.open(ExposeServiceRequestSchema, envelope, call);
      const { service, url } = await exposures.create(from, stockRequestOf(message));
      const { name, domain, portAutoAssigned } = service;
      return envelopes.seal(ExposeServiceResponseSchema, { serviceName: name, serviceUrl: url, domain, portAutoAssigned }, from);
    },
    renewExpose: async (envelope, call) => {
      const { from, message } = envelopes.open(RenewExposeRequestSchema, envelope, call);
      await exposures.renew(from, await exposures.idOf(from, message.domain));
      return envelopes.seal(RenewExposeResponseSchema, {}, from);
    },
    stopExpose: async (envelope, call) => {
      const { from, message } = envelopes.open(StopExposeRequestSchema, envelope, call);
      await exposures.stop(from, await exposures.idOf(from, message.domain));
      return envelopes.seal(StopExposeResponseSchema, {}, from);
    },
  };
}

/** Our own extension. */
export function createExposeService(exposures: Exposures, envelopes: Envelopes): RpcService {
  return defineService(PeerExposeService, {
    expose: async (envelope, call) => {
      const { from, message } = envelopes.open(ExposeRequestSchema, envelope, call);
      return envelopes.seal(ExposureSchema, exposureMessage(await exposures.create(from, requestOf(message))), from);
    },
    renew: async (envelope, call) => {
      const { from, message } = envelopes.open(ExposureRefSchema, envelope, call);
      return envelopes.seal(ExposureSchema, exposureMessage(await exposures.renew(from, asId<ServiceId>(message.id))), from);
    },
    stop: async (envelope, call) => {
      const { from, message } = envelopes.open(ExposureRefSchema, envelope, call);
      await exposures.stop(from, asId<ServiceId>(message.id));
      return envelopes.seal(EmptySchema, {}, from);
    },
  });
}

const stockProtocols: Readonly<Record<ExposeProtocol, ExposeRequest['protocol']>> = {
  [ExposeProtocol.EXPOSE_HTTP]: 'http',
  [ExposeProtocol.EXPOSE_HTTPS]: 'https',
  [ExposeProtocol.EXPOSE_TCP]: 'tcp',
  [ExposeProtocol.EXPOSE_UDP]: 'udp',
  [ExposeProtocol.EXPOSE_TLS]: 'tls',
};

/** A stock request without any proof means public, and gets what the settings permit. */
function stockRequestOf(message: ExposeServiceRequest): ExposeRequest {
  const { port, pin, password, userGroups, domain, namePrefix, listenPort } = message;
  checkTexts([pin, password, domain, namePrefix, ...userGroups], userGroups.length);
  const proof = pin !== '' || password !== '' || userGroups.length > 0;
  return {
    port,
    host: undefined,
    protocol: stockProtocols[message.protocol] ?? refuse('protocol'),
    place: { kind: 'random', name: namePrefix.toLowerCase(), ...(domain === '' ? {} : { below: domain }) },
    listenPort: listenPort === 0 ? undefined : listenPort,
    access: proof
      ? { kind: 'proof', signIn: userGroups.length > 0, groups: userGroups, password: password || undefined, pin: pin || undefined }
      : { kind: 'settings' },
    endsAfterMs: undefined,
  };
}

function requestOf(message: ExposeMessage): ExposeRequest {
  const { port, host, name, place, listenPort, signIn, groups, password, pin, endsAfterMs } = message;
  checkTexts([host, name, place.value ?? '', password, pin, ...groups], groups.length);
  const proof = signIn || groups.length > 0 || password !== '' || pin !== '';
  if (message.public && proof) return refuse('public and not public');
  return {
    port,
    host: host === '' ? undefined : host,
    protocol: exposeProtocols.find((each) => each === message.protocol) ?? refuse('protocol'),
    place:
      place.case === 'domain'
        ? { kind: 'exact', domain: place.value }
        : { kind: 'random', name: name.toLowerCase(), ...(place.case === 'below' ? { below: place.value } : {}) },
    listenPort: listenPort === 0 ? undefined : listenPort,
    access: message.public
      ? { kind: 'public' }
      : { kind: 'proof', signIn: signIn || groups.length > 0 || !proof, groups, password: password || undefined, pin: pin || undefined },
    endsAfterMs: endsAfterMs === 0n ? undefined : Number(endsAfterMs),
  };
}

function exposureMessage({ service, url, ttlMs, endsAt, groups }: Exposure): MessageInitShape<typeof ExposureSchema> {
  const { oidc, password, pin } = service.auth;
  const [hasPassword, hasPin] = [password?.enabled === true, pin?.enabled === true];
  return {
    id: service.id,
    name: service.name,
    url,
    domain: service.domain,
    listenPort: service.listenPort ?? 0,
    ttlMs: BigInt(ttlMs),
    endsAt: BigInt(endsAt ?? 0),
    state: service.status.state,
    reason: service.status.reason,
    public: !oidc.enabled && !hasPassword && !hasPin,
    signIn: oidc.enabled,
    groups: [...groups],
    password: hasPassword,
    pin: hasPin,
  };
}

function checkTexts(texts: readonly string[], groups: number): void {
  if (groups > maxExposeGroups || texts.some((text) => text.length > maxExposeText)) refuse('a text is too long');
}

function refuse(what: string): never {
  throw managementError('MANAGEMENT_EXPOSE_INVALID', what);
}
