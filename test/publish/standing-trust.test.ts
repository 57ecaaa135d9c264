// Trust under which something stays open: how long it stands while nobody can be asked.
import t from 'tap';
import { sessionGraceMs } from '#identity/constants.ts';
import { allow, challenge, deny } from '#publish/access/check.ts';
import { StandingTrust } from '#publish/access/standing-trust.ts';
import { alice } from './harness.ts';

void t.test('it stands while it is confirmed, and for a while where nobody can be asked', async (t) => {
  const away = deny('auth_unavailable', '');
  const trust = new StandingTrust(0);
  t.ok(trust.stands(away, sessionGraceMs - 1));
  t.ok(trust.stands(allow('session', alice), sessionGraceMs * 2));
  t.ok(trust.stands(away, sessionGraceMs * 3 - 1));
  t.notOk(trust.stands(away, sessionGraceMs * 3), 'and no more');
});

void t.test('any other word ends it', async (t) => {
  for (const verdict of [
    undefined,
    challenge('session_revoked', []),
    challenge('not_signed_in', []),
    deny('token_invalid', ''),
    deny('internal_error', ''),
  ])
    t.notOk(new StandingTrust(0).stands(verdict, 1));
});
