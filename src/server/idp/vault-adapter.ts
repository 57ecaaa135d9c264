// Where the OpenID library keeps its state: records in the vault, found by digest, so that a copy of the table opens no session.
import { createHash } from 'node:crypto';
import type { Clock } from '#lib/clock.ts';
import { utf8 } from '#lib/bytes.ts';
import type { UserId } from '#model/ids.ts';
import { errors, type Adapter, type AdapterPayload } from 'oidc-provider';
import type { VaultUseCases } from '../domain/contract.ts';
import { deviceCodeSeconds, grantSeconds, sessionMaxSeconds } from './constants.ts';
import { idpError } from './errors.ts';

/** What belongs to a grant and dies with it. */
const ofGrant: ReadonlySet<string> = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken', 'DeviceCode']);

interface StoredRecord {
  readonly payload: AdapterPayload;
  /** Wall-clock milliseconds of the first write. */
  readonly since: number;
}

/** All records of the provider. Revocation leaves a mark instead of looking for what it ends: one write, no list to keep, no race. */
export class VaultRecords {
  readonly #vault: VaultUseCases;
  readonly #clock: Clock;
  /** Codes that are being used up by a request of this process; no more than requests under way. */
  readonly #busy = new Set<string>();

  constructor(vault: VaultUseCases, clock: Clock) {
    this.#vault = vault;
    this.#clock = clock;
  }

  /** The store of one kind of record, as the library asks for it. */
  adapter(model: string): Adapter {
    return new VaultAdapter(model, this);
  }

  /** Ends all that was issued to the user up to now. */
  async revokeUser(userId: UserId): Promise<void> {
    await this.write(key('UserMark', userId), { at: this.#clock.wall() }, grantSeconds);
  }

  /** Wall-clock milliseconds up to which everything issued to the user has been revoked; 0 where nothing has. */
  async userRevokedAt(userId: string): Promise<number> {
    const mark = await this.read(key('UserMark', userId));
    return typeof mark?.['at'] === 'number' ? mark['at'] : 0;
  }

  async revokeGrant(grantId: string): Promise<void> {
    await this.write(key('GrantMark', grantId), {}, grantSeconds);
  }

  async grantRevoked(grantId: string): Promise<boolean> {
    return (await this.read(key('GrantMark', grantId))) !== undefined;
  }

  /** Keeps a record of our own under an id that may be a secret. */
  async keep(kind: string, id: string, value: object, seconds: number): Promise<void> {
    await this.write(key(kind, id), value, seconds);
  }

  async kept(kind: string, id: string): Promise<Record<string, unknown> | undefined> {
    return await this.read(key(kind, id));
  }

  /** Reads it and ends it: of many who ask at once, one gets it. */
  async take(kind: string, id: string): Promise<Record<string, unknown> | undefined> {
    const name = key(kind, id);
    return parse(name, await this.#vault.take(name));
  }

  async drop(kind: string, id: string): Promise<void> {
    await this.remove(key(kind, id));
  }

  async read(name: string): Promise<Record<string, unknown> | undefined> {
    return parse(name, await this.#vault.get(name));
  }

  async write(name: string, value: object, seconds: number): Promise<void> {
    await this.#vault.set(name, utf8(JSON.stringify(value)), this.#clock.wall() + seconds * 1000);
  }

  async remove(name: string): Promise<void> {
    await this.#vault.delete(name);
  }

  /** Runs the work unless the same is under way for this name: then it throws as for a code that has been used. */
  async alone(name: string, work: () => Promise<void>): Promise<void> {
    if (this.#busy.has(name)) throw new errors.InvalidGrant('it is being used');
    this.#busy.add(name);
    try {
      await work();
    } finally {
      this.#busy.delete(name);
    }
  }

  now(): number {
    return this.#clock.wall();
  }
}

class VaultAdapter implements Adapter {
  readonly #model: string;
  readonly #records: VaultRecords;

  constructor(model: string, records: VaultRecords) {
    this.#model = model;
    this.#records = records;
  }

  async upsert(id: string, payload: AdapterPayload, expiresIn: number): Promise<void> {
    const name = key(this.#model, id);
    const before = await this.#load(name);
    const record: StoredRecord = { payload, since: before?.since ?? this.#records.now() };
    // A device that asks too late, and the person who types its code, are told that it has expired, not that there never was one.
    const seconds = this.#model === 'DeviceCode' ? expiresIn + deviceCodeSeconds : expiresIn;
    await this.#records.write(name, record, seconds);
    if (this.#model === 'Session' && payload.uid !== undefined) await this.#records.write(key('SessionUid', payload.uid), { id }, expiresIn);
    if (payload.userCode !== undefined) await this.#records.write(key('UserCode', payload.userCode), { id }, seconds);
  }

  async find(id: string): Promise<AdapterPayload | undefined> {
    const record = await this.#load(key(this.#model, id));
    return record !== undefined && (await this.#alive(record)) ? record.payload : undefined;
  }

  async findByUid(uid: string): Promise<AdapterPayload | undefined> {
    return this.#findThrough(key('SessionUid', uid));
  }

  async findByUserCode(userCode: string): Promise<AdapterPayload | undefined> {
    return this.#findThrough(key('UserCode', userCode));
  }

  /** Of two requests that bring the same code together, one gets through. */
  async consume(id: string): Promise<void> {
    const name = key(this.#model, id);
    await this.#records.alone(name, async () => {
      const record = await this.#load(name);
      if (record === undefined || record.payload.consumed !== undefined) throw new errors.InvalidGrant('it has been used');
      const seconds = Math.floor(this.#records.now() / 1000);
      const used: StoredRecord = { ...record, payload: { ...record.payload, consumed: seconds } };
      await this.#records.write(name, used, Math.max(1, (record.payload.exp ?? 0) - seconds));
    });
  }

  async destroy(id: string): Promise<void> {
    const name = key(this.#model, id);
    const record = await this.#load(name);
    await this.#records.remove(name);
    if (record?.payload.userCode !== undefined) await this.#records.remove(key('UserCode', record.payload.userCode));
    if (this.#model !== 'Session' || record?.payload.uid === undefined) return;
    // A session that gets a new id is saved under it before or after the old one goes: its uid may already lead to the new one.
    const pointer = key('SessionUid', record.payload.uid);
    if ((await this.#records.read(pointer))?.['id'] === id) await this.#records.remove(pointer);
  }

  async revokeByGrantId(grantId: string): Promise<void> {
    await this.#records.revokeGrant(grantId);
  }

  async #findThrough(pointer: string): Promise<AdapterPayload | undefined> {
    const id = (await this.#records.read(pointer))?.['id'];
    return typeof id === 'string' ? this.find(id) : undefined;
  }

  async #load(name: string): Promise<StoredRecord | undefined> {
    const value = await this.#records.read(name);
    const payload = value?.['payload'];
    const since = value?.['since'];
    return typeof payload === 'object' && payload !== null && typeof since === 'number' ? { payload: payload as AdapterPayload, since } : undefined;
  }

  async #alive({ payload, since }: StoredRecord): Promise<boolean> {
    const now = this.#records.now();
    if (payload.exp !== undefined && payload.exp * 1000 <= now && this.#model !== 'DeviceCode') return false;
    // A sign-in counts from its own time, which a later save of the same session does not move.
    const from = this.#model === 'Session' && payload.loginTs !== undefined ? payload.loginTs * 1000 : since;
    if (this.#model === 'Session' && now - from > sessionMaxSeconds * 1000) return false;
    if (payload.accountId !== undefined && from <= (await this.#records.userRevokedAt(payload.accountId))) return false;
    return payload.grantId === undefined || !ofGrant.has(this.#model) || !(await this.#records.grantRevoked(payload.grantId));
  }
}

function parse(name: string, bytes: Uint8Array | undefined): Record<string, unknown> | undefined {
  if (bytes === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch (cause) {
    throw idpError('IDP_VAULT_DAMAGED', name, cause);
  }
  throw idpError('IDP_VAULT_DAMAGED', name);
}

/** The vault's key of a record. Ids are secrets of their bearers, so the key holds a digest. */
function key(model: string, id: string): string {
  return `idp/${model}/${createHash('sha256').update(id).digest('base64url')}`;
}

/** The seconds at which a new sign-in must be dated to count as later than a revocation at `revokedAt` (milliseconds). */
export function signInSeconds(now: number, revokedAt: number): number {
  return Math.max(Math.floor(now / 1000), Math.floor(revokedAt / 1000) + 1);
}
