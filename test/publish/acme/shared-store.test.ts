// What the gateways of a cluster share, from one gateway's side: whom it believes, and what it gives back.
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { sealBox } from '#crypto/box.ts';
import { X25519PrivateKey } from '#crypto/x25519.ts';
import { utf8 } from '#lib/bytes.ts';
import { silentLogger } from '#lib/log.ts';
import type { CertificateExchange } from '#model/certificate-exchange.ts';
import { unshared, type ClusterStore } from '#publish/certs/acme/cluster-store.ts';
import { NO_ANSWER_MS } from '#publish/certs/acme/constants.ts';
import { openSharedStore } from '#publish/certs/acme/shared-store.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { createTestCa } from '../../support/test-ca.ts';
import { until } from '../../support/until.ts';
import { openAutomatic, stateFolder } from './issue.ts';

const names = ['a.test'];
const clock = new ManualClock();

async function open(t: Test, exchange: Partial<CertificateExchange>): Promise<ClusterStore> {
  return await openSharedStore(join(await stateFolder(t), 'seal-key'), exchange as CertificateExchange, { clock, log: silentLogger });
}

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

void t.test('an answer is presented when no gateway believes any more that there is none', async (t) => {
  const calls: string[] = [];
  const store = await open(t, { present: () => Promise.resolve(void calls.push('present')) });
  const presented = store.present(names, [], AbortSignal.timeout(5_000)).then(() => calls.push('presented'));
  await turn();
  clock.advance(NO_ANSWER_MS - 1);
  await turn();
  t.same(calls, ['present']);
  clock.advance(1);
  await presented;
  t.same(calls, ['present', 'presented']);
});

void t.test('a certificate that is only said to live longer is not taken again and again', async (t) => {
  const ca = await createTestCa();
  const { certPem, keyPem } = await ca.issue(names);
  const plain = utf8(JSON.stringify({ names, keyPem, chainPem: certPem, directory: 'https://acme.test' }));
  const other = new Uint8Array(32).fill(7);
  const asked: number[] = [];
  const store = await open(t, {
    lease: async (_names, notAfter, sealKey) => {
      asked.push(notAfter);
      if (notAfter === Number.MAX_SAFE_INTEGER) return { kind: 'granted' };
      return { kind: 'certificate', senderKey: new X25519PrivateKey(other).publicBytes, recipientKey: sealKey, box: sealBox(plain, sealKey, other) };
    },
  });
  const signal = AbortSignal.timeout(5_000);
  const first = await store.lease(names, 0, signal);
  t.match(first, { kind: 'certificate', certificate: { chainPem: certPem } });
  const far = Date.now() + 100 * 365 * 86_400_000;
  t.same(await store.lease(names, far, signal), { kind: 'granted' });
  t.same(asked, [0, far, Number.MAX_SAFE_INTEGER]);
});

void t.test('a lease that is granted when nobody wants the certificate any more is given back', async (t) => {
  const lease = Promise.withResolvers<void>();
  const calls: string[] = [];
  const store: ClusterStore = {
    ...unshared,
    lease: async (of) => {
      calls.push(`lease ${of.join(' ')}`);
      await lease.promise;
      return { kind: 'granted' };
    },
    release: async (of) => void calls.push(`release ${of.join(' ')}`),
  };
  const automatic = await openAutomatic(t, { directory: 'https://127.0.0.1:1/', ca: '' }, {}, { store });
  automatic.want(names);
  await until('it is asked for', () => calls.length === 1);
  automatic.want([]);
  await turn();
  const before = calls.length;
  lease.resolve();
  await until('it is given back', () => calls.length > before);
  t.equal(calls.at(-1), 'release a.test');
});
