// A handshake takes its time: what changed between the SYN and the last ACK counts.
import { duplexPair } from 'node:stream';
import t from 'tap';
import { silentLogger } from '#lib/log.ts';
import type { PacketFilter } from '#model/network-map.ts';
import { Admission } from '../../src/overlay/admission.ts';
import { OverlayFilter } from '../../src/overlay/filter.ts';
import { OverlayRoutes } from '../../src/overlay/routes.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { seededBytes } from '../support/seeded.ts';
import { ip, key, prefix } from './words.ts';

const own = prefix('100.92.0.1/16');
const caller = '100.92.0.2';
const open: PacketFilter = {
  kind: 'rules',
  rules: [{ direction: 'in', action: 'accept', protocol: 'tcp', peer: prefix(`${caller}/32`), ports: undefined }],
};

void t.test('a connection whose permission went during its handshake is reset, and nobody hears of it', async (t) => {
  const filter = new OverlayFilter();
  let owner = key(2);
  const ownerOf = (address: { readonly bytes: Uint8Array }): typeof owner | undefined => (address.bytes.join('.') === caller ? owner : undefined);
  const routes = new OverlayRoutes({
    clock: new ManualClock(),
    log: silentLogger,
    random: seededBytes(1),
    self: key(1),
    exitNodes: false,
    filter,
    face: () => undefined,
    reach: () => 'direct',
    ownerOf,
    addressesOf: () => [],
    nameOf: () => '',
    moved: () => undefined,
  });
  t.teardown(() => routes.close());
  const admission = new Admission({ clock: new ManualClock(), log: silentLogger, filter, routes, own: () => [own], ownerOf });
  let heard = 0;
  admission.accept(
    () => true,
    () => heard++,
  );
  const [local, remote] = [
    { ip: own.address, port: 443 },
    { ip: ip(caller), port: 50_000 },
  ];
  const accepted = (): boolean => {
    const [stream] = duplexPair();
    admission.accepted({ stream, local, remote, peer: key(2) });
    return !stream.destroyed;
  };

  filter.set(open);
  t.ok(admission.admits(local, remote), 'the SYN is let in');
  t.ok(accepted(), 'and so is its connection');
  t.equal(heard, 1);

  filter.set({ kind: 'rules', rules: [] });
  t.notOk(accepted(), 'the policy is gone');
  filter.set(open);
  owner = key(3);
  t.notOk(accepted(), 'the address is somebody else’s');
  t.equal(heard, 1);
});
