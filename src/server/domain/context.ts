// What every use case works with: the store, the clock, and one way to write. A write is one transaction with its audit events and its
// changes in it; listeners hear of the changes after it has committed.
import type { PasswordHasher } from '#crypto/password.ts';
import type { Clock } from '#lib/clock.ts';
import type { Logger } from '#lib/log.ts';
import type { AccountId } from '#model/ids.ts';
import type { Issuer } from '#model/issuer.ts';
import type { Store, Tables } from '../store/store.ts';
import { describeActor } from './audit.ts';
import type { Authorities } from './authorities.ts';
import type { DomainLimits } from './constants.ts';
import type { Actor, Change } from './contract.ts';
import type { Changes } from './changes.ts';
import type { Sealer } from './seal.ts';
import type { SessionTime } from './session-time.ts';
import type { MapSerial } from './serial.ts';
import { orderedId, type RandomBytes } from './ids.ts';

export interface Account {
  readonly id: AccountId;
  readonly networkV4: string;
  readonly networkV6: string;
}

/** One transaction in progress. */
export interface Write {
  readonly tables: Tables;
  /** Wall-clock milliseconds, the same through the whole transaction. */
  readonly now: number;
  readonly audit: (code: string, actor: Actor, targetId: string, meta?: Readonly<Record<string, string>>) => Promise<void>;
  /** Tells the change when the transaction commits; one that concerns network maps also moves the serial. */
  readonly changed: (change: Change) => void;
}

export interface Context {
  readonly account: Account;
  readonly dnsDomain: string;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: RandomBytes;
  readonly limits: DomainLimits;
  readonly hasher: PasswordHasher;
  readonly sealer: Sealer;
  readonly authorities: Authorities;
  readonly changes: Changes;
  readonly serial: MapSerial;
  /** An exposed service lives on so long without a renewal, milliseconds. */
  readonly exposureTtlMs: number;
  /** Issuers that the server's configuration names. */
  readonly configuredIssuers: readonly Issuer[];
  readonly sessionTime: SessionTime;
  /** This process among those that share the database. */
  readonly serverId: string;
}

export async function write<T>(context: Context, work: (write: Write) => Promise<T>): Promise<T> {
  const { store, clock, random, changes } = context;
  return await changes.inOrder(async (publish) => {
    const pending: Change[] = [];
    let serial = 0;
    const result = await store.write(async (tables, announce) => {
      const now = clock.wall();
      let audits = 0;
      const value = await work({
        tables,
        now,
        changed: (change) => pending.push(change),
        async audit(code, actor, targetId, meta = {}) {
          await tables.events.addAudit({
            id: orderedId(now, audits++, random),
            at: now,
            code,
            targetId,
            meta,
            ...(await describeActor(tables, code, actor)),
          });
        },
      });
      if (pending.some(movesSerial)) serial = await tables.account.next('serial');
      if (store.shared && pending.length > 0) {
        for (const change of pending) {
          const id = await tables.account.next('change');
          await tables.changes.insert({ id, serverId: context.serverId, body: JSON.stringify(change) }, now);
        }
        await announce();
      }
      return value;
    });
    context.serial.moved(serial);
    for (const change of pending) publish(change);
    return result;
  });
}

function movesSerial(change: Change): boolean {
  switch (change.kind) {
    case 'network':
    case 'peer-removed':
    case 'peer-expired':
      return true;
    case 'service-set':
    case 'service-removed':
    case 'proxy-token-revoked':
    case 'revocation':
      return false;
  }
}
