// Paired devices: credentials of phone apps, TVs and webhooks. Each stands for its user at one service, for as long as that user may use it.
import { deviceTokenPrefix, generateToken, isToken, tokenDigest } from '#crypto/tokens.ts';
import { callerNetwork } from '#lib/ip.ts';
import { type ProofAlternatives, type ProofKind, sufficient } from '#model/access.ts';
import type { ServiceId, SessionId } from '#model/ids.ts';
import type { CredentialAttempt, CredentialCheck, Device, Session } from '#model/identity.ts';
import type { DeviceRecord } from '../store/device-table.ts';
import type { ServiceRecord } from '../store/service-table.ts';
import type { Tables } from '../store/store.ts';
import { attemptRules, devicesListed, devicesPerUser } from './constants.ts';
import { write, type Context, type Write } from './context.ts';
import type { Actor } from './contract.ts';
import { domainError } from './errors.ts';
import { newId } from './ids.ts';
import { isIssuer } from './issuer-choice.ts';
import { proofsOf } from './mappings.ts';
import { beginAttempt } from './proof-attempts.ts';
import type { DeviceUseCases } from './proof-contract.ts';
import { enabledService, identityOf, isNameless, mayUse, waysIn } from './sessions.ts';
import type { SessionUseCases } from './session-contract.ts';
import { isStale, noted } from './tokens.ts';
import { doorOf } from './tls-place.ts';

export function deviceUseCases(context: Context, sessions: Pick<SessionUseCases, 'find'>): DeviceUseCases {
  const { store, random } = context;
  /** The live session of somebody with an account, whatever it lacks; undefined where there is none. */
  const holder = async (id: SessionId, serviceId: ServiceId, cluster: string): Promise<Session | undefined> => {
    const found = await sessions.find(id, serviceId, cluster);
    return 'session' in found && !isNameless(found.session.identity.userId) ? found.session : undefined;
  };
  return {
    async list(userId) {
      return (await store.tables.devices.listNamed(userId, devicesListed)).map(({ digest: _digest, ...device }) => device);
    },

    async revoke(id, of, actor) {
      await write(context, async (write) => {
        const device = await write.tables.devices.find(id);
        if (device === undefined || (of !== undefined && device.userId !== of)) throw domainError('DOMAIN_NOT_FOUND', 'device');
        await endDevice(write, device, actor);
      });
    },

    async pair(sessionId, serviceId, cluster, name) {
      const session = await holder(sessionId, serviceId, cluster);
      if (session === undefined) return { refused: 'not_signed_in' };
      const checked = name.trim();
      if (!/^[^\p{Cc}]{1,64}$/u.test(checked)) return { refused: 'name_invalid' };
      const secret = generateToken(deviceTokenPrefix);
      const { userId } = session.identity;
      return await write(context, async ({ tables, now, audit }) => {
        const service = await enabledService(tables, serviceId, cluster);
        if (service?.access.devices !== true) return { refused: 'not_offered' };
        // Who lacks a proof may not leave a way in that does without it.
        if (!mayPair(service, session.proofs ?? [session.identity.method])) return { refused: 'not_signed_in' };
        if ((await tables.devices.listAt(serviceId, userId)).length >= devicesPerUser) return { refused: 'too_many' };
        const digest = tokenDigest(secret);
        const device: DeviceRecord = { id: newId(random), serviceId, userId, name: checked, createdAt: now, lastUsed: undefined, digest };
        await tables.devices.insert(device);
        await audit('device.pair', { kind: 'user', id: userId }, serviceId, { service: service.name, device: checked });
        return { device: viewOf(device), secret };
      });
    },

    async listAt(sessionId, serviceId, cluster) {
      const session = await holder(sessionId, serviceId, cluster);
      return session === undefined ? [] : (await store.tables.devices.listAt(serviceId, session.identity.userId)).map(viewOf);
    },

    async revokeAt(sessionId, serviceId, cluster, id) {
      const session = await holder(sessionId, serviceId, cluster);
      if (session === undefined) return;
      const { userId } = session.identity;
      await write(context, async (write) => {
        const device = await write.tables.devices.find(id);
        if (device?.userId === userId && device.serviceId === serviceId) await endDevice(write, device, { kind: 'user', id: userId });
      });
    },
  };
}

/**
 * Whether somebody has proven what the device will stand for: of the service and of each rule that a device can pass, some other way in, whole. A
 * rule that asks for less elsewhere is no such way.
 */
function mayPair(service: ServiceRecord, proven: readonly ProofKind[]): boolean {
  const withoutDevice = (ways: ProofAlternatives): ProofAlternatives => ways.filter((all) => !all.includes('device'));
  if (!sufficient(withoutDevice(waysIn(service)), proven)) return false;
  const passed = [proofsOf(service), ...service.access.rules.map(({ proofs }) => proofs)].filter((ways) =>
    ways.some((all) => all.includes('device')),
  );
  return passed.map(withoutDevice).every((ways) => ways.length === 0 || sufficient(ways, proven));
}

/** What a device's secret stands for. It cannot be guessed; an address that shows many wrong ones is slowed all the same. */
export async function verifyDevice(context: Context, attempt: CredentialAttempt, cluster: string): Promise<CredentialCheck> {
  const { store, clock } = context;
  const wrong: CredentialCheck = { kind: 'denied', why: 'wrong', retryAfterMs: 0 };
  const keys = [{ key: `device ${callerNetwork(attempt.address)}`, rule: attemptRules.device }];
  const now = clock.wall();
  if (!isToken(attempt.secret, deviceTokenPrefix)) return wrong;
  const found = await store.read(async (tables) => await deviceOf(context, tables, attempt, cluster));
  if (found === undefined) {
    const waitMs = await store.write(async (tables) => await beginAttempt(tables, now, keys));
    return waitMs > 0 ? { kind: 'denied', why: 'wait', retryAfterMs: waitMs } : wrong;
  }
  if (found === 'group_not_allowed') return { kind: 'denied', why: found, retryAfterMs: 0 };
  if (isStale(found.device.lastUsed, now)) {
    await noted(store.tables.devices.setUsed(found.device.id, now));
  }
  return { kind: 'valid', identity: { ...found.identity, device: found.device.name } };
}

async function deviceOf(
  context: Context,
  tables: Tables,
  { serviceId, secret }: CredentialAttempt,
  cluster: string,
): Promise<{ readonly device: DeviceRecord; readonly identity: Session['identity'] } | 'group_not_allowed' | undefined> {
  const device = await tables.devices.findByDigest(tokenDigest(secret));
  const service = await enabledService(tables, serviceId, cluster);
  if (device === undefined || service?.access.devices !== true || device.serviceId !== serviceId) return undefined;
  const user = await tables.users.find(device.userId);
  if (user === undefined || user.blocked || !(await isIssuer(context, tables, user.connector))) return undefined;
  if (!mayUse(service, user)) return 'group_not_allowed';
  return { device, identity: await identityOf(tables, user, 'device') };
}

async function endDevice({ tables, audit, changed }: Write, device: DeviceRecord, actor: Actor): Promise<void> {
  if (!(await tables.devices.delete(device.id))) return;
  await audit('device.revoke', actor, device.serviceId, { device: device.name, user_id: device.userId });
  const service = await tables.services.find(device.serviceId);
  const cluster = service && doorOf(service);
  changed({ kind: 'revocation', revocation: { kind: 'token', digest: device.digest }, cluster });
}

function viewOf({ id, name, createdAt, lastUsed }: DeviceRecord): Device {
  return { id, name, createdAt, lastUsed };
}
