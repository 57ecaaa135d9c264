// Two drivers over a path in memory, in virtual time: delay, loss and reordering under WireGuard and TCP, from a seed.
import t from 'tap';
import { generatePrivateKey, publicFromPrivate } from '#crypto/x25519.ts';
import { nodeAead } from '#crypto/aead.ts';
import { toBase64 } from '#lib/bytes.ts';
import { parsePublicKey } from '#model/ids.ts';
import type { OverlayFilter } from '../../src/overlay/filter.ts';
import { OverlayFilter as Filter } from '../../src/overlay/filter.ts';
import { Driver } from '../../src/overlay/driver.ts';
import { MemoryPath } from '../../src/overlay/path/memory.ts';
import { UserspaceFace } from '../../src/overlay/userspace-face.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { seeded, seededBytes } from '../support/seeded.ts';
import { prefix, readAll } from './pair.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test('a transfer over a path that loses, delays and reorders arrives whole', async (t) => {
  const clock = new ManualClock();
  const keys = [generatePrivateKey(seededBytes(1)), generatePrivateKey(seededBytes(2))] as const;
  const paths = MemoryPath.pair({ clock, random: seeded(3), delayMs: 10, loss: 0.02, reorder: 0.02, capacity: 500 });
  const filter: OverlayFilter = new Filter();
  filter.set({ kind: 'open' });
  const make = (self: 0 | 1): Driver =>
    new Driver(
      { privateKey: keys[self], mtu: 1280, clock, random: seededBytes(10 + self), filter, aead: nodeAead },
      {
        send: (_peer, run, size) => paths[self].sendRun(run, size),
        authenticated: () => undefined,
        delivered: () => undefined,
        handshake: () => undefined,
        unroutable: () => undefined,
      },
    );
  const drivers = [make(0), make(1)] as const;
  let received: Promise<Buffer> | undefined;
  const faces = drivers.map(
    (driver, self) =>
      new UserspaceFace({
        clock,
        mtu: 1280,
        random: seededBytes(20 + self),
        hooks: {
          send: (packet, segmentSize) => driver.send(packet, segmentSize),
          touch: () => driver.touch(),
          turn: (work) => driver.turn(work),
          admits: () => true,
          passesFilter: () => true,
          carries: () => false,
          judge: () => 'accept',
          withdrawn: () => undefined,
          datagram: () => undefined,
          ownerOf: () => parsePublicKey(toBase64(publicFromPrivate(keys[0]))),
          accepted: ({ stream }) => {
            received = readAll(stream);
            stream.end();
          },
        },
      }),
  );
  for (const self of [0, 1] as const) {
    const other = self === 0 ? 1 : 0;
    const driver = drivers[self];
    driver.device.setPeer(
      { publicKey: toBase64(publicFromPrivate(keys[other])), allowedIps: [prefix(`100.92.0.${other + 1}/32`)], persistentKeepaliveMs: 0 },
      clock.now(),
    );
    const face = faces[self];
    if (face === undefined) throw new RangeError('two faces');
    driver.setFace(face);
    face.setAddresses([prefix(`100.92.0.${self + 1}/16`)], [], clock.now());
    paths[self].receive = (datagram, source) => driver.receive(datagram, datagram.length, source);
  }
  t.teardown(() => drivers.forEach((driver) => driver.close()));

  const peer = parsePublicKey(toBase64(publicFromPrivate(keys[1])));
  const stream = peer === undefined ? undefined : faces[0]?.connect({ ip: prefix('100.92.0.2/32').address, peer }, 80, () => undefined);
  if (stream === undefined) {
    t.fail('no connection');
    return;
  }
  const data = Buffer.alloc(400_000);
  seededBytes(5)(data);
  stream.on('error', (error) => t.fail(error.message));
  stream.resume().end(data);
  const got: Buffer[] = [];
  for (let ms = 0; ms < 120_000 && got.length === 0; ms += 5) {
    clock.advance(5);
    await turn();
    void received?.then((bytes) => got.push(bytes));
    received = undefined;
  }
  t.ok(got[0]?.equals(data), `${got[0]?.length} bytes`);
  t.ok(paths[0].lost > 0, `${paths[0].lost} of ${paths[0].sent} lost`);
  t.comment(`400 kB over 20 ms round trip with 2 % loss and 2 % reordering: ${clock.now()} ms of virtual time`);
});
