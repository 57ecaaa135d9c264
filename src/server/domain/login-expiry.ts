// When the user of a peer has to sign in again. A peer carries the time of its last sign-in and a mark that it is over; the mark is what
// network maps go by, so that every server builds the same maps, and the time is what a login is judged by.
import type { Peer } from '#model/network.ts';
import { write, type Context, type Write } from './context.ts';
import type { AccountSettings } from './contract.ts';
import { readSettings } from './saved-settings.ts';

/** When the peer's user has to sign in again; undefined where he never has to. */
export function loginEndsAt(peer: Peer, settings: AccountSettings): number | undefined {
  const ends = settings.loginExpirationEnabled && peer.loginExpirationEnabled && peer.userId !== undefined;
  return ends ? peer.lastLogin + settings.loginExpirationMs : undefined;
}

/** Sets and takes back the marks that do not fit the time and the settings any more. */
export async function markExpiredLogins(write: Write, settings: AccountSettings): Promise<void> {
  const { tables, now, audit, changed } = write;
  const wrong = await tables.peers.listLoginMarksWrong(signedInBefore(settings, now));
  for (const peer of wrong) {
    await tables.peers.setLoginExpired(peer.id, !peer.loginExpired);
    if (peer.loginExpired) continue;
    await audit('peer.login.expire', { kind: 'system' }, peer.id, { name: peer.name, ip: peer.ipv4 });
    changed({ kind: 'peer-expired', publicKey: peer.publicKey });
  }
  if (wrong.length > 0) changed({ kind: 'network', peers: undefined });
}

/** The same as a use case of its own; it writes only where there is something to mark. */
export async function sweepLogins(context: Context): Promise<void> {
  const { store, clock } = context;
  const settings = await readSettings(store.tables);
  if ((await store.tables.peers.listLoginMarksWrong(signedInBefore(settings, clock.wall()))).length === 0) return;
  await write(context, async (write) => markExpiredLogins(write, await readSettings(write.tables)));
}

function signedInBefore(settings: AccountSettings, now: number): number {
  return settings.loginExpirationEnabled ? now - settings.loginExpirationMs : -1;
}
