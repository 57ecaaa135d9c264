// Peers in metrics: as many labels as the bound says, and sums that never go back.
import t from 'tap';
import type { PublicKey } from '#model/ids.ts';
import type { PeerPathStatus } from '#model/status.ts';
import { PeerSeries } from '#metrics/peers.ts';

function peer(name: string, sentBytes: number, change: Partial<PeerPathStatus> = {}): PeerPathStatus {
  return {
    publicKey: `key of ${name}` as PublicKey,
    fqdn: `${name}.mesh`,
    addresses: [],
    state: 'connected',
    path: undefined,
    reason: '',
    lastSwitch: undefined,
    switches: 0,
    lastHandshake: undefined,
    receivedBytes: 0,
    sentBytes,
    ...change,
  };
}

function sent(series: PeerSeries): Readonly<Record<string, number>> {
  return Object.fromEntries([...series.total('sent')].map(({ labels, value }) => [labels['peer'], value]));
}

void t.test('the first that are used have labels; the others are one sum', async (t) => {
  const series = new PeerSeries(2);
  series.update([peer('idle', 0), peer('a', 1), peer('b', 2), peer('c', 10), peer('d', 20)]);
  t.same(sent(series), { 'a.mesh': 1, 'b.mesh': 2, other: 30 });
  series.update([peer('idle', 5), peer('a', 2), peer('b', 2), peer('c', 11), peer('d', 20)]);
  t.same(sent(series), { 'a.mesh': 2, 'b.mesh': 2, other: 36 });
  t.equal([...series.labelled()].length, 2);
});

void t.test('no sum goes back when peers leave, come again, or are counted anew', async (t) => {
  const series = new PeerSeries(1);
  series.update([peer('a', 1), peer('b', 100), peer('c', 50)]);
  series.update([peer('b', 100), peer('c', 50)]);
  t.same(sent(series), { other: 150 }, 'a place that is free is not given to who was counted before');
  series.update([peer('b', 7), peer('c', 50), peer('new', 3)]);
  t.same(sent(series), { 'new.mesh': 3, other: 157 });
  series.update([]);
  t.same(sent(series), { other: 157 });
});

void t.test('a label stands once, whatever peers call themselves', async (t) => {
  const series = new PeerSeries(10);
  const twin = { fqdn: 'same.mesh' };
  series.update([peer('x', 1, twin), { ...peer('y', 2, twin), publicKey: 'second key' as PublicKey }, peer('z', 3, { fqdn: 'other' })]);
  t.same(Object.keys(sent(series)), ['same.mesh', 'same.mesh second k', 'other key of z']);
});
