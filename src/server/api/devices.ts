// Paired devices: everybody sees and revokes the own ones, who manages users those of all. Our own addition.
import { object, optional, string } from '#lib/schema.ts';
import type { UserId } from '#model/ids.ts';
import type { DeviceView } from '../domain/proof-contract.ts';
import { roleAllows, seesOthers } from './access.ts';
import { deleted, idParam, ok, readQuery, type Handler } from './call.ts';
import { idField, present, time } from './fields.ts';

const listQuery = object({
  user: optional(idField<UserId>()),
  scope: optional(string({ max: 3, pattern: /^(?:own|all)$/, hint: 'must be own or all' })),
});

function deviceShape(device: DeviceView): Readonly<Record<string, unknown>> {
  return present({
    id: device.id,
    name: device.name,
    user_id: device.userId,
    user_email: device.email,
    service_id: device.serviceId,
    domain: device.domain,
    created_at: time(device.createdAt),
    last_used: device.lastUsed === undefined ? undefined : time(device.lastUsed),
  });
}

export const listDevices: Handler = async (call) => {
  const { user, scope } = readQuery(call, listQuery);
  const wanted = user ?? (scope === 'own' ? call.caller.id : undefined);
  const shown = seesOthers(call.caller) ? wanted : call.caller.id;
  const devices = wanted === undefined || wanted === shown ? await call.domain.devices.list(shown) : [];
  return ok(devices.map(deviceShape));
};

export const revokeDevice: Handler = async (call) => {
  const of = roleAllows(call.caller.role, 'users:write') ? undefined : call.caller.id;
  await call.domain.devices.revoke(idParam(call), of, call.actor);
  return deleted;
};
