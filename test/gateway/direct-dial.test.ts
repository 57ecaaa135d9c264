// Targets that the gateway dials itself: where it goes, and where it never does.
import { PassThrough } from 'node:stream';
import t from 'tap';
import type { Dial } from '#lib/net.ts';
import { guardDirect, guardDirectUdp } from '../../src/gateway/direct-dial.ts';

const forbidden = [
  '169.254.169.254',
  '169.254.0.1',
  '0.0.0.0',
  '::',
  '::ffff:169.254.169.254',
  '::ffff:127.0.0.1',
  '64:ff9b::a9fe:a9fe',
  'fd00:ec2::254',
  'fe80::1',
  '100.100.100.200',
  '168.63.129.16',
  '224.0.0.1',
  '255.255.255.255',
];

function recorder(refuse: readonly string[] = []): { readonly dial: Dial; readonly dialled: string[] } {
  const dialled: string[] = [];
  return {
    dialled,
    dial: ({ host }) => {
      dialled.push(host);
      return refuse.includes(host) ? Promise.reject(new Error('refused')) : Promise.resolve(new PassThrough());
    },
  };
}

const options = { signal: new AbortController().signal };

void t.test('row X-1: special addresses are not dialled, as they are or behind a name; loopback and the own network are', async (t) => {
  for (const host of forbidden) {
    const { dial, dialled } = recorder();
    await t.rejects(guardDirect(dial)({ host, port: 80 }, options), { code: 'GATEWAY_TARGET_SPECIAL' }, host);
    await t.rejects(
      guardDirect(dial, () => Promise.resolve([host]))({ host: 'name.test', port: 80 }, options),
      { code: 'GATEWAY_TARGET_SPECIAL' },
      host,
    );
    t.same(dialled, [], 'nothing was dialled');
  }
  for (const host of ['127.0.0.1', '::1', '10.0.0.9', '192.0.2.1', '2001:db8::1', 'fd00::1']) {
    const { dial, dialled } = recorder();
    (await guardDirect(dial)({ host, port: 80 }, options)).destroy();
    t.same(dialled, [host]);
  }
  // Spellings that only a resolver takes for an address end at the address.
  for (const host of ['0xa9fea9fe', '2852039166', '0251.0376.0251.0376', '169.254.43518']) {
    const { dial, dialled } = recorder();
    await t.rejects(guardDirect(dial)({ host, port: 80 }, options), host);
    t.same(dialled, [], host);
  }
});

void t.test('row X-1: a name that changes between the check and the dial is asked once, and dialled by what was checked', async (t) => {
  let asked = 0;
  const rebinding = (): Promise<readonly string[]> =>
    Promise.resolve(asked++ === 0 ? ['10.0.0.9', '169.254.169.254', '10.0.0.8'] : ['169.254.169.254']);
  const { dial, dialled } = recorder(['10.0.0.9']);
  (await guardDirect(dial, rebinding)({ host: 'name.test', port: 80 }, options)).destroy();
  t.same(dialled, ['10.0.0.9', '10.0.0.8']);
  t.equal(asked, 1);
});

void t.test('row X-1: UDP goes there neither', async (t) => {
  const opened: string[] = [];
  const open = guardDirectUdp((to) => {
    opened.push(to.address);
    return { send: () => undefined, close: () => undefined };
  });
  for (const address of forbidden)
    await new Promise<void>((failed) => {
      open({ address, port: 53 }, () => undefined, failed).send(Buffer.from('x'));
    });
  t.same(opened, []);
  open(
    { address: '10.0.0.9', port: 53 },
    () => undefined,
    () => undefined,
  ).close();
  t.same(opened, ['10.0.0.9']);
});
