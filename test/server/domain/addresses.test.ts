import t from 'tap';
import { freeAddress, matchingV6, newNetwork } from '../../../src/server/domain/addresses.ts';
import { freeLabel } from '../../../src/server/domain/labels.ts';
import { seeded } from './support.ts';

t.test('networks are inside 100.64.0.0/10 and fd00::/8', async (t) => {
  const random = seeded('networks');
  const seen = new Set<string>();
  for (let i = 0; i < 200; i++) {
    const { v4, v6 } = newNetwork(random);
    seen.add(v4);
    t.match(v4, /^100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.0\.0\/16$/);
    t.match(v6, /^fd[0-9a-f]{2}:[0-9a-f:]+::\/64$/);
  }
  t.ok(seen.size > 40);
});

t.test('every usable address is given once, and no other', async (t) => {
  const all = new Set<string>();
  for (let host = 0; host <= 0xffff; host++) all.add(`100.80.${host >> 8}.${host & 0xff}`);
  for (const forbidden of ['100.80.0.0', '100.80.255.255', '100.80.255.254']) all.delete(forbidden);
  const random = seeded('addresses');
  const take = async (taken: Set<string>): Promise<string> =>
    await freeAddress(
      '100.80.0.0/16',
      random,
      async (ip) => taken.has(ip),
      async () => [...taken],
    );
  for (const last of ['100.80.0.1', '100.80.255.253', '100.80.12.255', '100.80.13.0']) {
    const taken = new Set(all);
    taken.delete(last);
    t.equal(await take(taken), last, 'the only one left is found');
  }
  await t.rejects(take(all), { code: 'DOMAIN_NETWORK_FULL' });
});

t.test('the IPv6 address ends in the bytes of the IPv4 address', async (t) => {
  t.equal(matchingV6('fd12:3456:789a:bcde::/64', '100.80.1.2'), 'fd12:3456:789a:bcde::6450:102');
});

t.test('a label that is taken twice still gets through', async (t) => {
  const taken = new Set(['web', 'web-1-2']);
  const label = await freeLabel('web', '100.80.1.2', false, async (text) => taken.has(text), seeded('labels'));
  t.match(label, /^web-[0-9a-v]{20}$/);
});
