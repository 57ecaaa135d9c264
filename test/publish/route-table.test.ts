// The table of services changes one by one.
import t from 'tap';
import { asId, type ServiceId } from '#model/ids.ts';
import { RouteTable } from '#publish/index.ts';
import { seeded } from '../support/seeded.ts';
import { mapping, path } from './harness.ts';

const service = (id: string, domain: string, changes: Parameters<typeof mapping>[2] = {}): ReturnType<typeof mapping> =>
  mapping(domain, [path(80)], { id: asId<ServiceId>(id), ...changes });

void t.test('a domain stays with whom it belongs to, and goes to the next when it is free', async (t) => {
  const problems: string[] = [];
  const table = new RouteTable((id, problem) => problems.push(`${id}: ${problem}`));
  table.set(service('1', 'a.test'));
  table.set(service('2', 'a.test'));
  table.set(service('3', 'A.test.'));
  table.set(service('4', 'no host'));
  t.same(problems, ['2: a.test belongs to another service already', '3: a.test belongs to another service already', '4: no host is not a host name']);
  t.equal(table.service('a.test')?.id, '1');
  t.equal(table.serviceById(asId<ServiceId>('2')), undefined);
  table.set(service('1', 'b.test'));
  t.equal(table.service('a.test')?.id, '2');
  t.equal(table.service('b.test')?.id, '1');
  table.remove(asId<ServiceId>('3'));
  table.remove(asId<ServiceId>('2'));
  t.equal(table.service('a.test'), undefined);
  t.equal(table.size, 1);
  table.set(service('1', 'b.test', { mode: 'tcp', listenPort: 1 }));
  t.equal(table.size, 0, 'what is not HTTP’s any more is gone');
});

void t.test('a change is seen by its version, and leaves what it does not concern as it is', async (t) => {
  const table = new RouteTable();
  table.set(service('1', 'a.test'));
  const open = table.service('a.test');
  const { version } = table;
  table.set(service('2', '*.a.test'));
  t.ok(table.version > version);
  t.equal(table.service('a.test'), open);
  t.equal(table.service('any.a.test')?.id, '2');
  t.equal(table.host('*.a.test'), undefined, 'a wildcard is no Host value');
  t.equal(table.host('A.test:8443'), 'a.test');
  table.remove(asId<ServiceId>('2'));
  t.equal(table.service('any.a.test'), undefined);
  t.equal(table.service('a.test'), open);
});

void t.test('whatever the order of changes, each domain is one of its services, and each service is found by its domain', async (t) => {
  const random = seeded(7);
  const table = new RouteTable();
  const wanted = new Map<string, string>();
  for (let step = 0; step < 3_000; step++) {
    const id = `${Math.floor(random() * 8)}`;
    if (random() < 0.3) {
      table.remove(asId<ServiceId>(id));
      wanted.delete(id);
    } else {
      const domain = `d${Math.floor(random() * 4)}.test`;
      table.set(service(id, domain));
      wanted.set(id, domain);
    }
    const domains = new Set(wanted.values());
    if (table.size !== domains.size) t.fail(`step ${step}: ${table.size} services for ${domains.size} domains`);
    for (const domain of domains) {
      const found = table.service(domain);
      if (found === undefined || wanted.get(found.id) !== domain || table.serviceById(found.id) !== found) t.fail(`step ${step}: ${domain}`);
    }
  }
  t.ok(table.size > 0);
});
