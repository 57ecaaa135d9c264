// A preshared key is mixed into every handshake: peers that do not share it do not meet.
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { connect, member, readAll, TestSignal } from './pair.ts';

const answer = 'a long answer';

t.test('with the same key they meet, with another or none they do not', async (t) => {
  const presharedKey = randomBytes(32);
  const signal = new TestSignal();
  const a = await member(signal, 'a', { presharedKey });
  const [same, other, none] = [
    await member(signal, 'same', { presharedKey: Uint8Array.from(presharedKey) }),
    await member(signal, 'other', { presharedKey: randomBytes(32) }),
    await member(signal, 'none'),
  ];
  const members = [a, same, other, none];
  t.teardown(() => Promise.all(members.map(({ overlay }) => overlay.close())));
  for (const { overlay } of members)
    overlay.accept(
      () => true,
      ({ stream }) => stream.end(answer),
    );
  connect(members);
  const stream = await a.overlay.dial({ host: same.address, port: 80 }, { signal: AbortSignal.timeout(10_000) });
  t.equal((await readAll(stream)).toString(), answer);
  stream.end();
  for (const stranger of [other, none]) {
    await t.rejects(
      a.overlay.dial({ host: stranger.address, port: 80 }, { signal: AbortSignal.timeout(1500) }),
      { code: 'ABORT_ERR' },
      stranger.name,
    );
    await t.rejects(stranger.overlay.dial({ host: a.address, port: 80 }, { signal: AbortSignal.timeout(1500) }), { code: 'ABORT_ERR' });
    t.equal(stranger.overlay.status().peers.find(({ publicKey }) => publicKey === a.publicKey)?.lastHandshake, undefined);
  }
});

t.test('a key of another length is refused', async (t) => {
  await t.rejects(member(new TestSignal(), 'short', { presharedKey: randomBytes(31) }), { code: 'OVERLAY_BAD_KEY' });
});
