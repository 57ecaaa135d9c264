// What gateways tell of their services: each state once, and again where the control plane has forgotten it.
import t from 'tap';
import { silentLogger } from '#lib/log.ts';
import type { ServiceStatus } from '#model/status.ts';
import { reportIntervalMs } from '../../src/gateway/constants.ts';
import { ServiceReporter } from '../../src/gateway/report/service-reporter.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { mapping } from './mappings.ts';

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

void t.test('a state is told once, and again after it was forgotten, also where it was on its way then', async (t) => {
  const clock = new ManualClock();
  const told: string[] = [];
  let services = [mapping('a'), mapping('b')];
  let state: ServiceStatus = { state: 'active', reason: '' };
  let sent: Promise<void> = Promise.resolve();
  const reporter = new ServiceReporter({
    mappings: () => services,
    state: () => state,
    hasCertificate: () => true,
    send: ({ serviceId, status }) => {
      told.push(`${serviceId} ${status.state}`);
      return sent;
    },
    clock,
    log: silentLogger,
  });
  t.teardown(() => reporter.close());
  const tick = async (): Promise<string[]> => {
    clock.advance(reportIntervalMs);
    await turn();
    await turn();
    return told.splice(0);
  };
  reporter.start();
  await turn();
  const [first, second] = services.map(({ id }) => `${id} active`);
  t.same(told.splice(0), [first, second]);
  t.same(await tick(), []);
  const gone = services[0];
  if (gone === undefined) return t.fail('no service');
  reporter.forget(gone.id);
  t.same(await tick(), [first], 'switched off and on between two looks');
  const slow = Promise.withResolvers<void>();
  sent = slow.promise;
  state = { state: 'error', reason: 'x' };
  services = [gone];
  t.same(await tick(), [`${gone.id} error`]);
  reporter.forget(gone.id);
  sent = Promise.resolve();
  slow.resolve();
  await turn();
  t.same(await tick(), [`${gone.id} error`], 'the answer to the earlier word does not count');
  t.same(await tick(), []);
  return t.end();
});
