// What a gateway says of its joining while it joins.
import t from 'tap';
import { silentLogger } from '#lib/log.ts';
import type { MeshNode } from '#mesh/index.ts';
import { asId, type PublicKey } from '#model/ids.ts';
import { Registration } from '../../src/gateway/registration.ts';
import { mapping, path } from '../publish/harness.ts';

t.test('it has joined from the moment on that the node runs, not from the next look at it', async (t) => {
  let state: ReturnType<MeshNode['state']> = { kind: 'signing-in', reason: '' };
  let retried = 0;
  const refusal = Object.assign(new Error('unknown'), { code: 'MESH_REFUSED' });
  const node = {
    publicKey: asId<PublicKey>('key'),
    state: () => state,
    onState: () => () => undefined,
    start: () => Promise.reject(refusal),
    retry: () => void retried++,
  } as unknown as MeshNode;
  const registration = new Registration({ node, createProxyPeer: () => Promise.resolve(), log: silentLogger });
  t.match(registration.reason, /no service yet/);
  registration.start();
  registration.offer({ ...mapping('a.test', [path(80)]), authToken: 'once' });
  while (retried === 0) await new Promise(setImmediate);
  t.not(registration.reason, '', 'vouched for, not in yet');
  state = { kind: 'running', self: {} as never, from: 'control' };
  t.equal(registration.reason, '', 'in');
  state = { kind: 'refused', reason: 'removed' };
  t.not(registration.reason, '', 'and out again');
  await registration.close();
});
