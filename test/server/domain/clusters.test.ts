import t from 'tap';
import { asId } from '#model/ids.ts';
import { cnameDeadlineMs, proxyLiveMs } from '../../../src/server/domain/constants.ts';
import { addCluster, addPeer, openDomain, serviceOf, system } from './support.ts';

t.test('a cluster is known from its first gateway on, and online while one gives signs of life', async (t) => {
  const { domain, clock } = await openDomain();
  t.same(await domain.clusters.clusters(), []);
  await addCluster(domain, 'Proxy.TEST');
  await addCluster(domain, 'proxy.test', 'gateway-2');
  t.match(await domain.clusters.clusters(), [{ address: 'proxy.test', online: true, connectedProxies: 2 }]);
  clock.advance(proxyLiveMs);
  await domain.clusters.proxyHeartbeat(asId('gateway-1'));
  clock.advance(1);
  t.match(await domain.clusters.clusters(), [{ online: true, connectedProxies: 1 }]);
  await domain.clusters.proxyDisconnected(asId('gateway-1'));
  t.match(await domain.clusters.clusters(), [{ online: false, connectedProxies: 0 }]);
  for (const address of ['', 'a b', '-x.test']) await t.rejects(addCluster(domain, address), { code: 'DOMAIN_INVALID' }, address);
  await domain.close();
});

t.test('custom domains belong to a cluster and are checked by CNAME', async (t) => {
  const answers = new Map<string, readonly string[]>();
  const asked: string[] = [];
  let failure: string | undefined;
  const resolveCname = async (name: string): Promise<readonly string[]> => {
    asked.push(name);
    if (failure !== undefined) throw Object.assign(new Error('DNS'), { code: failure });
    return answers.get(name) ?? [];
  };
  const { domain } = await openDomain({ resolveCname });
  await t.rejects(domain.clusters.createDomain('example.com', 'proxy.test', system), { code: 'DOMAIN_NOT_FOUND' });
  await addCluster(domain);
  const { id, ...made } = await domain.clusters.createDomain('Example.COM', 'proxy.test', system);
  t.match(made, {
    domain: 'example.com',
    type: 'custom',
    cluster: 'proxy.test',
    validated: false,
    proof: { name: '_meshgate-challenge.example.com' },
  });
  for (const name of ['example.com', 'proxy.test', 'a.proxy.test']) {
    await t.rejects(domain.clusters.createDomain(name, 'proxy.test', system), { code: 'DOMAIN_DOMAIN_TAKEN' }, name);
  }
  await t.rejects(domain.clusters.createDomain('nodots', 'proxy.test', system), { code: 'DOMAIN_INVALID' });

  const validated = async (): Promise<boolean | undefined> => {
    await domain.clusters.validateDomain(id);
    return (await domain.clusters.domains()).find((entry) => entry.id === id)?.validated;
  };
  t.equal(await validated(), false);
  answers.set('validation.example.com', ['elsewhere.test']);
  t.equal(await validated(), false);
  answers.set('validation.example.com', ['Proxy.Test.']);
  t.equal(await validated(), true);
  failure = 'ESERVFAIL';
  await t.rejects(domain.clusters.validateDomain(id), { code: 'DOMAIN_DNS_UNAVAILABLE' });
  t.equal((await domain.clusters.domains()).find((entry) => entry.id === id)?.validated, true, 'no answer says nothing');
  t.same(new Set(asked), new Set(['validation.example.com']));

  const peerId = (await domain.peers.self(await addPeer(domain, 'web'))).peer.id;
  const service = await domain.services.create(serviceOf(peerId, { domain: 'app.example.com' }), system);
  t.equal(service.cluster, 'proxy.test');
  await t.rejects(domain.clusters.deleteDomain(id, system), { code: 'DOMAIN_DOMAIN_IN_USE' });
  await t.rejects(domain.clusters.deleteCluster('proxy.test', system), { code: 'DOMAIN_CLUSTER_IN_USE' });
  await domain.services.delete(service.id, system);
  await t.rejects(domain.clusters.deleteCluster('proxy.test', system), { code: 'DOMAIN_CLUSTER_IN_USE', message: /example\.com/ });
  failure = 'ENOTFOUND';
  t.equal(await validated(), false, 'a name that is gone is not validated');
  await domain.clusters.deleteDomain(id, system);
  await domain.clusters.deleteCluster('proxy.test', system);
  t.same(await domain.clusters.domains(), []);
  await domain.close();
});

t.test('row M-6: a custom domain is proven by a TXT record of its own token before anything is published below it, and again later', async (t) => {
  const records = new Map<string, readonly (readonly string[])[]>();
  let down = false;
  const resolveTxt = async (name: string): Promise<readonly (readonly string[])[]> => {
    if (down) throw Object.assign(new Error('DNS'), { code: 'ESERVFAIL' });
    return records.get(name) ?? [];
  };
  const { domain, clock } = await openDomain({ resolveTxt });
  await addCluster(domain);
  const { id, proof } = await domain.clusters.createDomain('example.com', 'proxy.test', system);
  const other = await domain.clusters.createDomain('example.org', 'proxy.test', system);
  t.not(proof?.value, other.proof?.value, 'each has a token of its own');
  const peerId = (await domain.peers.self(await addPeer(domain, 'web'))).peer.id;
  const create = (name: string) => domain.services.create(serviceOf(peerId, { name, domain: `${name}.example.com` }), system);
  await t.rejects(create('app'), {
    code: 'DOMAIN_SERVICE_DOMAIN_NOT_VALIDATED',
    message: new RegExp(`TXT record _meshgate-challenge.example.com with ${proof?.value}`),
  });
  const validated = async (): Promise<boolean | undefined> => (await domain.clusters.domains()).find((entry) => entry.id === id)?.validated;

  records.set('_meshgate-challenge.example.com', [[other.proof?.value ?? '']]);
  await domain.clusters.validateDomain(id);
  t.equal(await validated(), false, 'a token of another domain proves nothing');
  const value = proof?.value ?? '';
  records.set('_meshgate-challenge.example.com', [['something else'], [value.slice(0, 10), value.slice(10)]]);
  await domain.clusters.validateDomain(id);
  t.equal(await validated(), true);
  await create('app');

  records.delete('_meshgate-challenge.example.com');
  const days = async (count: number): Promise<void> => {
    for (let day = 0; day < count; day++) {
      clock.advance(86_400_000);
      await domain.clusters.proxyHeartbeat(asId('gateway-1'));
      await domain.clusters.recheckDomains();
    }
  };
  await days(6);
  t.equal(await validated(), true, 'a record that is away for some days');
  down = true;
  await days(10);
  t.equal(await validated(), true, 'DNS that says nothing changes nothing');
  down = false;
  await days(2);
  t.equal(await validated(), false);
  await t.rejects(create('late'), { code: 'DOMAIN_SERVICE_DOMAIN_NOT_VALIDATED' });
  await domain.close();
});

t.test('a look that takes long does not undo what another one has found meanwhile', async (t) => {
  let records: readonly (readonly string[])[] = [];
  let slow: Promise<void> | undefined;
  const asked = Promise.withResolvers<void>();
  const resolveTxt = async (): Promise<readonly (readonly string[])[]> => {
    const found = records;
    const wait = slow;
    slow = undefined;
    if (wait !== undefined) asked.resolve();
    await wait;
    return found;
  };
  const { domain, clock } = await openDomain({ resolveTxt });
  await addCluster(domain);
  const { id, proof } = await domain.clusters.createDomain('example.com', 'proxy.test', system);
  records = [[proof?.value ?? '']];
  await domain.clusters.validateDomain(id);
  clock.advance(2 * 86_400_000);
  const hold = Promise.withResolvers<void>();
  slow = hold.promise;
  const recheck = domain.clusters.recheckDomains();
  await asked.promise;
  records = [];
  await domain.clusters.validateDomain(id);
  hold.resolve();
  await recheck;
  t.equal((await domain.clusters.domains()).find((entry) => entry.id === id)?.validated, false);
  await domain.close();
});

t.test('a look-up that does not end is given up', async (t) => {
  const started = Promise.withResolvers<void>();
  const resolveCname = (): Promise<never> => {
    started.resolve();
    return new Promise<never>(() => undefined);
  };
  const { domain, clock } = await openDomain({ resolveCname });
  await addCluster(domain);
  const { id } = await domain.clusters.createDomain('example.com', 'proxy.test', system);
  const check = t.rejects(domain.clusters.validateDomain(id), { code: 'DOMAIN_DNS_UNAVAILABLE' });
  await started.promise;
  clock.advance(cnameDeadlineMs);
  await check;
  await domain.close();
});

t.test('clusters and domains have limits', async (t) => {
  const { domain } = await openDomain({ limits: { clusters: 1, domains: 1 } });
  await addCluster(domain);
  await t.rejects(addCluster(domain, 'other.test', 'gateway-2'), { code: 'DOMAIN_LIMIT' });
  await domain.clusters.createDomain('a.example', 'proxy.test', system);
  await t.rejects(domain.clusters.createDomain('b.example', 'proxy.test', system), { code: 'DOMAIN_LIMIT' });
  await domain.close();
});
