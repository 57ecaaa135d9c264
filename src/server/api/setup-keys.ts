// Setup keys: what a machine without a person joins with. The whole key is in the answer to the creation and nowhere else.
import { boolean, integer, object, oneOf, string } from '#lib/schema.ts';
import type { SetupKeyId } from '#model/ids.ts';
import type { SetupKey } from '#model/network.ts';
import { deleted, idParam, ok, readBody, type Handler } from './call.ts';
import { groupIds, time, timeOrZero, unsupported } from './fields.ts';

const createRequest = object({
  name: string({ max: 255 }),
  type: oneOf(['reusable', 'one-off']),
  /** Seconds; 0 never expires. */
  expires_in: integer({ max: 31_536_000 }),
  auto_groups: groupIds(),
  /** 0 for no limit; a one-off key is used once whatever is asked for. */
  usage_limit: integer({ max: 1_000_000, default: 0 }),
  ephemeral: boolean({ default: false }),
  allow_extra_dns_labels: unsupported(),
});

const updateRequest = object({ revoked: boolean(), auto_groups: groupIds() });

function state(key: SetupKey, now: number): 'valid' | 'overused' | 'expired' | 'revoked' {
  if (key.revoked) return 'revoked';
  if (key.expiresAt !== undefined && key.expiresAt <= now) return 'expired';
  return key.usageLimit > 0 && key.usedTimes >= key.usageLimit ? 'overused' : 'valid';
}

function keyShape(key: SetupKey, now: number, plain?: string): Readonly<Record<string, unknown>> {
  const current = state(key, now);
  return {
    id: key.id,
    key: plain ?? key.hint,
    name: key.name,
    expires: timeOrZero(key.expiresAt),
    type: key.type,
    valid: current === 'valid',
    revoked: key.revoked,
    used_times: key.usedTimes,
    last_used: timeOrZero(key.lastUsed),
    state: current,
    auto_groups: key.autoGroups,
    updated_at: time(key.updatedAt),
    usage_limit: key.usageLimit,
    ephemeral: key.ephemeral,
    allow_extra_dns_labels: false,
  };
}

export const listSetupKeys: Handler = async ({ domain, clock }) => ok((await domain.setupKeys.list()).map((key) => keyShape(key, clock.wall())));

export const getSetupKey: Handler = async (call) => ok(keyShape(await call.domain.setupKeys.get(idParam<SetupKeyId>(call)), call.clock.wall()));

export const createSetupKey: Handler = async (call) => {
  const request = readBody(call, createRequest);
  const { key, plain } = await call.domain.setupKeys.create(
    {
      name: request.name,
      type: request.type,
      expiresInSeconds: request.expires_in,
      usageLimit: request.type === 'one-off' ? 1 : request.usage_limit,
      ephemeral: request.ephemeral,
      autoGroups: request.auto_groups,
    },
    call.actor,
  );
  return ok(keyShape(key, call.clock.wall(), plain));
};

export const updateSetupKey: Handler = async (call) => {
  const { revoked, auto_groups: autoGroups } = readBody(call, updateRequest);
  return ok(keyShape(await call.domain.setupKeys.update(idParam<SetupKeyId>(call), { revoked, autoGroups }, call.actor), call.clock.wall()));
};

export const deleteSetupKey: Handler = async (call) => {
  await call.domain.setupKeys.delete(idParam<SetupKeyId>(call), call.actor);
  return deleted;
};
