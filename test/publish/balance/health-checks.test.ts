// The driver of health checks in virtual time: rhythm, jitter, timeouts, and how many are under way at once.
import t from 'tap';
import { createHttpChecks } from '../../../src/publish/http/balance/http-checks.ts';
import type { CheckedTarget } from '../../../src/publish/http/balance/balancers.ts';
import { TargetHealth } from '../../../src/publish/balance/target-health.ts';
import { describeUpstream } from '../../../src/publish/http/upstream-target.ts';
import { publishError } from '../../../src/publish/errors.ts';
import { HEALTH_CHECKS, HEALTH_FIRST_MS, HEALTH_JITTER } from '#publish/constants.ts';
import { asId } from '#model/ids.ts';
import { defaultTargetOptions } from '#model/service.ts';
import type { HealthCheck } from '#model/web.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { seeded } from '../../support/seeded.ts';

const check: HealthCheck = { path: '/', intervalMs: 10_000, timeoutMs: 1_000, healthyAfter: 1, unhealthyAfter: 2, statuses: [200, 299] };

function targets(count: number, changes: Partial<HealthCheck> = {}): Map<string, CheckedTarget> {
  return new Map(
    Array.from({ length: count }, (_, i) => {
      const upstream = describeUpstream(
        asId('a'),
        { protocol: 'http', host: `10.0.0.${i}`, port: 80, basePath: '', weight: 1 },
        defaultTargetOptions,
      );
      const target = { upstream, basePath: '', host: `10.0.0.${i}`, weight: 1 };
      return [`t${i}`, { target, health: new TargetHealth(), check: { ...check, ...changes }, host: 'app.test' }] as const;
    }),
  );
}

async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Dials that never come about, until they are given up. */
function start(fail?: () => Error) {
  const clock = new ManualClock();
  const begun: { readonly at: number; readonly host: string }[] = [];
  let open = 0;
  let most = 0;
  const checks = createHttpChecks({
    clock,
    random: seeded(7),
    upstreams: {
      connect: ({ target }, _use, signal) => {
        begun.push({ at: clock.now(), host: target.host });
        if (fail !== undefined) return Promise.reject(fail());
        open++;
        most = Math.max(most, open);
        return new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => {
            open--;
            reject(signal.reason as Error);
          }),
        );
      },
    },
  });
  return { clock, checks, begun, open: () => open, most: () => most };
}

t.test('no more than the limit are under way; the others wait for their turn', async (t) => {
  const { clock, checks, begun, open, most } = start();
  const all = targets(HEALTH_CHECKS * 2 + 10);
  checks.follow(all);
  clock.advance(HEALTH_FIRST_MS);
  t.equal(open(), HEALTH_CHECKS);
  for (let i = 0; i < 4; i++) {
    clock.advance(check.timeoutMs);
    await settle();
  }
  t.equal(most(), HEALTH_CHECKS);
  t.equal(new Set(begun.map(({ host }) => host)).size, all.size, 'each had its turn');
  checks.close();
  await settle();
  t.equal(open(), 0, 'closing gives up what is under way');
});

t.test('intervals have jitter, two failures take it out, and what is unchanged keeps its rhythm', async (t) => {
  const { clock, checks, begun } = start();
  const all = targets(1);
  const [[, only] = ['', undefined]] = all;
  checks.follow(all);
  for (let i = 0; i < 40; i++) {
    clock.advance(1_000);
    await settle();
    // The same list, made anew, as every new route table brings it.
    checks.follow(new Map(all));
  }
  const gaps = begun.slice(1).map(({ at }, i) => at - (begun[i]?.at ?? 0) - check.timeoutMs);
  t.ok(begun.length >= 3 && begun.length <= 5, `${begun.length} checks in 40 s`);
  t.ok(
    gaps.every((gap) => gap >= check.intervalMs * (1 - HEALTH_JITTER) - 1_000 && gap <= check.intervalMs * (1 + HEALTH_JITTER) + 1_000),
    gaps.join(' '),
  );
  t.match(only?.health.problem(0), /no answer within 1000 ms/);
  const before = begun.length;
  checks.follow(targets(1, { intervalMs: 500 }));
  clock.advance(HEALTH_FIRST_MS);
  t.equal(begun.length, before + 1, 'another rhythm begins at once');
  checks.follow(new Map());
  await settle();
  clock.advance(100_000);
  t.equal(begun.length, before + 1, 'who has left the list is not asked');
});

t.test('a target is not blamed for what is ours', async (t) => {
  const { clock, checks, begun } = start(() => publishError('PUBLISH_UPSTREAM_BUSY', 'x'));
  const all = targets(1);
  checks.follow(all);
  for (let i = 0; i < 60; i++) {
    clock.advance(1_000);
    await settle();
  }
  t.ok(begun.length >= 4);
  t.equal(all.get('t0')?.health.problem(0), '');
  checks.close();
});
