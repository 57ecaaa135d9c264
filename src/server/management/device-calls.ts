// The part of GatewayService about paired devices: all of them are the session's user's at its service.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { asId, type ServiceId, type SessionId } from '#model/ids.ts';
import type { Device } from '#model/identity.ts';
import type { Call } from '#rpc/method.ts';
import type {
  DeviceSchema,
  ListDevicesRequest,
  ListDevicesResponseSchema,
  PairDeviceRequest,
  PairDeviceResponseSchema,
  RevokeDeviceRequest,
  RevokeDeviceResponseSchema,
} from '#wire/proto/gen/meshgate_pb.ts';
import type { DeviceUseCases } from '../domain/proof-contract.ts';
import { maxProofText } from './constants.ts';

interface DeviceCalls {
  readonly pairDevice: (request: PairDeviceRequest, call: Call) => Promise<MessageInitShape<typeof PairDeviceResponseSchema>>;
  readonly listDevices: (request: ListDevicesRequest, call: Call) => Promise<MessageInitShape<typeof ListDevicesResponseSchema>>;
  readonly revokeDevice: (request: RevokeDeviceRequest, call: Call) => Promise<MessageInitShape<typeof RevokeDeviceResponseSchema>>;
}

/** `clusterOf` is that of the gateway that calls. */
export function deviceCalls(devices: Pick<DeviceUseCases, 'pair' | 'listAt' | 'revokeAt'>, clusterOf: (call: Call) => Promise<string>): DeviceCalls {
  return {
    pairDevice: async ({ sessionId, serviceId, name }, call) => {
      const cluster = await clusterOf(call);
      if (name.length > maxProofText) return { result: { case: 'refused', value: 'name_invalid' } };
      const paired = await devices.pair(asId<SessionId>(sessionId), asId<ServiceId>(serviceId), cluster, name);
      if ('refused' in paired) return { result: { case: 'refused', value: paired.refused } };
      return { result: { case: 'paired', value: { device: messageOf(paired.device), secret: paired.secret } } };
    },
    listDevices: async ({ sessionId, serviceId }, call) => {
      const list = await devices.listAt(asId<SessionId>(sessionId), asId<ServiceId>(serviceId), await clusterOf(call));
      return { devices: list.map(messageOf) };
    },
    revokeDevice: async ({ sessionId, serviceId, deviceId }, call) => {
      await devices.revokeAt(asId<SessionId>(sessionId), asId<ServiceId>(serviceId), await clusterOf(call), deviceId);
      return {};
    },
  };
}

function messageOf({ id, name, createdAt, lastUsed }: Device): MessageInitShape<typeof DeviceSchema> {
  return { id, name, createdAt: BigInt(Math.trunc(createdAt)), lastUsed: BigInt(Math.trunc(lastUsed ?? 0)) };
}
