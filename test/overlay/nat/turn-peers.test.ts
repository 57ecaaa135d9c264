// What an allocation keeps of its peers: permissions and channels, their renewal, their limits, and what is asked of the server for them.
import t from 'tap';
import { firstChannel, lastChannel } from '#wire/turn.ts';
import {
  TURN_AGAIN_FIRST_MS,
  TURN_CHANNEL_REUSE_MS,
  TURN_MAX_OPEN_REQUESTS,
  TURN_MAX_PERMISSIONS,
  TURN_PERMISSION_BATCH,
  TURN_PERMISSION_REFRESH_MS,
} from '../../../src/overlay/constants.ts';
import { TurnPeers } from '../../../src/overlay/path/turn-peers.ts';
import { TurnRequests } from '../../../src/overlay/path/turn-requests.ts';
import { parseTurnUrl } from '../../../src/overlay/path/turn.ts';
import { seededBytes } from '../../support/seeded.ts';

const address = (i: number): string => `198.51.${i >> 8}.${i & 255}`;

void t.test('permissions are asked for in batches, renewed, and end with their last user', async (t) => {
  const peers = new TurnPeers();
  for (let i = 0; i < TURN_PERMISSION_BATCH + 2; i++) peers.permit(address(i), 0);
  peers.permit(address(0), 0);
  const first = peers.nextPermissions(0);
  t.equal(first.length, TURN_PERMISSION_BATCH);
  peers.permissionsAnswered(first, 'granted', 10);
  t.equal(peers.nextPermissions(10).length, 2, 'the rest comes next');
  t.ok(peers.granted(address(0)));
  t.notOk(peers.granted(address(TURN_PERMISSION_BATCH)));
  t.equal(peers.nextPermissions(10 + TURN_PERMISSION_REFRESH_MS).length, TURN_PERMISSION_BATCH, 'and the first again in time');
  peers.release(address(0));
  t.ok(peers.granted(address(0)), 'one user is left');
  peers.release(address(0));
  t.notOk(peers.granted(address(0)));
});

void t.test('one address that is refused does not keep the others out', async (t) => {
  const peers = new TurnPeers();
  for (let i = 0; i < 3; i++) peers.permit(address(i), 0);
  peers.permissionsAnswered(peers.nextPermissions(0), 'refused', 0);
  const outcomes: string[] = [];
  for (let batch = peers.nextPermissions(0); batch.length > 0; batch = peers.nextPermissions(0)) {
    t.equal(batch.length, 1, 'each alone now');
    const [one] = batch;
    const word = one?.address === address(1) ? 'refused' : 'granted';
    outcomes.push(word);
    peers.permissionsAnswered(batch, word, 0);
  }
  t.equal(outcomes.length, 3);
  t.same(
    [0, 1, 2].map((i) => peers.granted(address(i))),
    [true, false, true],
  );
});

void t.test('silence asks again later; a lost allocation asks for everything anew', async (t) => {
  const peers = new TurnPeers();
  peers.permit(address(1), 0);
  peers.permissionsAnswered(peers.nextPermissions(0), 'silence', 0);
  t.equal(peers.askAt(), TURN_AGAIN_FIRST_MS);
  peers.bind({ address: address(1), port: 5 }, 0);
  peers.forget(1000);
  t.equal(peers.nextPermissions(1000).length, 1);
  t.equal(peers.channelTo({ address: address(1), port: 5 }), undefined);
});

void t.test('the tables are bounded: permissions, channel numbers and their rest', async (t) => {
  const peers = new TurnPeers();
  for (let i = 0; i < TURN_MAX_PERMISSIONS; i++) t.ok(peers.permit(address(i), 0) || t.fail(String(i)));
  t.notOk(peers.permit('203.0.113.1', 0), 'one too many');
  t.ok(peers.permit(address(0), 0), 'a known one is none');
  const numbers = new Set<number>();
  for (let i = 0; i <= lastChannel - firstChannel; i++) numbers.add(peers.bind({ address: address(i), port: 7 }, 0)?.number ?? -1);
  t.equal(numbers.size, lastChannel - firstChannel + 1, 'each its own number');
  const more = { address: '203.0.113.1', port: 7 };
  t.equal(peers.bind(more, 0), undefined);
  peers.unbind({ address: address(3), port: 7 }, 100);
  t.equal(peers.bind(more, 100 + TURN_CHANNEL_REUSE_MS - 1), undefined, 'the server may still know the old peer');
  t.equal(peers.bind(more, 100 + TURN_CHANNEL_REUSE_MS)?.number, firstChannel + 3);
});

void t.test('no more than a few requests are open', async (t) => {
  let sent = 0;
  const requests = new TurnRequests({ username: 'u', password: 'p', random: seededBytes(1), send: () => sent++ });
  let silent = 0;
  for (let i = 0; i < 3 * TURN_MAX_OPEN_REQUESTS; i++)
    requests.send({ method: 'refresh' }, (outcome) => (silent += outcome.kind === 'silence' ? 1 : 0), 0);
  for (let now = 0; now < 60_000; now += 100) requests.poll(now);
  t.equal(silent, TURN_MAX_OPEN_REQUESTS);
  t.equal(requests.pollAt(), Infinity);
});

void t.test('URLs of servers', async (t) => {
  t.same(parseTurnUrl('turn:turn.example.com:3478?transport=udp'), { host: 'turn.example.com', port: 3478 });
  t.same(parseTurnUrl('turn:192.0.2.1'), { host: '192.0.2.1', port: 3478 });
  t.same(parseTurnUrl('turn:[2001:db8::1]:5'), { host: '2001:db8::1', port: 5 });
  for (const url of ['turns:a:1', 'turn:a:1?transport=tcp', 'stun:a:1', 'turn:', 'turn:a:0', 'turn:a:70000', 'turn://a:1'])
    t.equal(parseTurnUrl(url), undefined, url);
});
