// What a request was let in by, as identity/ knows it: when that ends, what was opened under it is closed.
import { sessionKey } from '#identity/session-cache.ts';
import type { Verdict } from '../access/check.ts';
import type { Subject } from '../access/subject.ts';

/** The plain credential; undefined where nothing was shown. */
export function credentialOf(verdict: Verdict | undefined, subject: Subject | undefined): string | undefined {
  if (verdict?.reason === 'service_token') return subject?.token?.plain;
  if (verdict?.reason === 'mesh_peer') return subject?.meshPeer;
  return verdict?.session?.id;
}

/** The trust in a visitor of a private service as one of its members, whatever else lets it in; undefined at all others. */
export function memberKey(subject: Subject | undefined): string | undefined {
  return subject?.service?.mapping.private === true && subject.meshPeer !== undefined ? sessionKey(subject.meshPeer) : undefined;
}
