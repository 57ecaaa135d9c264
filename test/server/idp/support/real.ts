// The provider over the real domain with one local user, Ada, and a clock that the test moves.
import { randomBytes } from 'node:crypto';
import type { Test } from 'tap';
import { PasswordHasher } from '#crypto/password.ts';
import { totpCode, totpStep } from '#crypto/totp.ts';
import { silentLogger } from '#lib/log.ts';
import type { UserId } from '#model/ids.ts';
import { openControlDomain, type OpenControlDomain } from '#server/domain/index.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import type { Page } from './browser.ts';
import { redirectUri, startHarness, type Harness, type HarnessOptions } from './harness.ts';

export const system = { kind: 'system' } as const;
export const ada = { email: 'ada@example.com', password: 'correct horse battery' };

export interface Ready extends Harness {
  readonly real: OpenControlDomain;
  readonly clock: ManualClock;
  readonly userId: UserId;
  /** Sets codes of an app up and returns what makes them; time has gone on to the next code. */
  enrol(): Promise<{ code(): string; readonly recovery: readonly string[] }>;
}

export async function ready(t: Test, options: HarnessOptions = {}): Promise<Ready> {
  // Behind the real time, by which the OpenID library gives its codes their end.
  const clock = new ManualClock(Date.now() - 600_000);
  const real = await openControlDomain({
    storeUrl: 'sqlite::memory:',
    masterKey: randomBytes(32),
    dnsDomain: 'mesh.internal',
    clock,
    log: silentLogger,
    hasher: new PasswordHasher({ cost: { N: 16, r: 1, p: 1 } }),
  });
  t.teardown(() => real.close());
  const harness = await startHarness(t, { ...options, domain: real, clock });
  const userId = (await real.users.setup({ ...ada, name: 'Ada', code: (await real.users.setupCode()) ?? '' })).id;
  return {
    ...harness,
    real,
    clock,
    userId,
    async enrol() {
      const secret = await real.factors.beginTotp(userId);
      const code = (): string => totpCode(secret, totpStep(clock.wall()));
      const made = await real.factors.confirmTotp(userId, code());
      clock.advance(60_000);
      return { code, recovery: made?.recovery ?? [] };
    },
  };
}

/** Whether the browser is on its way back to the service with a code. */
export const isDone = (page: Page): boolean => page.location?.href.startsWith(redirectUri) === true;
