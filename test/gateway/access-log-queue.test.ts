// Access-log records wait while the control plane is away, and are bounded.
import t from 'tap';
import { silentLogger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { asId, type AccountId } from '#model/ids.ts';
import { accessLogInFlight, accessLogRetryMs, maxQueuedAccessLog } from '../../src/gateway/constants.ts';
import { AccessLogQueue } from '../../src/gateway/report/access-log-queue.ts';
import { ManualClock } from '../support/manual-clock.ts';

const account = asId<AccountId>('account');

function entry(id: string): AccessLogEntry {
  return {
    id,
    serviceId: undefined,
    timestamp: 0,
    protocol: 'http',
    method: 'GET',
    host: 'a',
    path: '/',
    durationMs: 1,
    status: 200,
    sourceIp: '',
    userId: '',
    authMethod: '',
    authSuccess: true,
    bytesUp: 0,
    bytesDown: 0,
    reason: 'session',
  };
}

/** Lets everything that has settled run. */
const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

void t.test('records are sent, a bounded number at once', async (t) => {
  const calls: PromiseWithResolvers<void>[] = [];
  const queue = new AccessLogQueue(
    () => {
      const call = Promise.withResolvers<void>();
      calls.push(call);
      return call.promise;
    },
    silentLogger,
    new ManualClock(),
  );
  for (let i = 0; i < accessLogInFlight + 5; i++) queue.push(entry(String(i)), account);
  t.equal(calls.length, accessLogInFlight);
  calls[0]?.resolve();
  await settled();
  t.equal(calls.length, accessLogInFlight + 1);
  const drained = queue.drain();
  for (let i = 0; i < calls.length; i++) {
    calls[i]?.resolve();
    await settled();
  }
  await drained;
  t.same(queue.status(), { waiting: 0, dropped: 0 });
});

void t.test('while the control plane is away nothing is lost up to the limit, and the oldest goes beyond it', async (t) => {
  const clock = new ManualClock();
  const sent: string[] = [];
  let away = true;
  const queue = new AccessLogQueue(
    async (record) => {
      if (away) throw new Error('away');
      sent.push(record.id);
    },
    silentLogger,
    clock,
  );
  queue.push(entry('first'), account);
  await settled();
  for (let i = 0; i < maxQueuedAccessLog; i++) queue.push(entry(String(i)), account);
  t.same(queue.status(), { waiting: maxQueuedAccessLog, dropped: 1 });
  away = false;
  clock.advance(accessLogRetryMs);
  for (let i = 0; i < 2_000 && queue.status().waiting > 0; i++) await settled();
  t.equal(sent.length, maxQueuedAccessLog);
  t.notOk(sent.includes('first'));
});
