// How sessions follow each other: previous, current and next, by themselves.
import t from 'tap';
import { nodeAead } from '#crypto/aead.ts';
import { generatePrivateKey, keyToText, publicFromPrivate, X25519PrivateKey } from '#crypto/x25519.ts';
import { defaultLimits } from '#wireguard/constants.ts';
import { PacketQueue } from '#wireguard/packet-queue.ts';
import { Peer } from '#wireguard/peer.ts';
import { Session } from '#wireguard/session.ts';

function makePeer(): Peer {
  const own = new X25519PrivateKey(generatePrivateKey());
  const theirs = publicFromPrivate(generatePrivateKey());
  return new Peer(keyToText(theirs), theirs, own, () => 0, new PacketQueue(defaultLimits, { bytes: 0 }));
}

let count = 0;
const session = (initiator: boolean): Session =>
  new Session(nodeAead, { send: new Uint8Array(32).fill(1), receive: new Uint8Array(32).fill(2) }, initiator, count++, 0, 0);

const places = (peer: Peer): readonly unknown[] => [peer.previous, peer.current, peer.next];
const present = (ended: readonly (Session | undefined)[]): readonly Session[] => ended.filter((one) => one !== undefined);

void t.test('sessions that we begin push the one before aside, and end the one before that', async (t) => {
  const peer = makePeer();
  const [one, two, three] = [session(true), session(true), session(true)];
  t.strictSame(present(peer.beginInitiated(one)), []);
  t.strictSame(present(peer.beginInitiated(two)), []);
  t.strictSame(places(peer), [one, two, undefined]);
  t.strictSame(present(peer.beginInitiated(three)), [one]);
  t.strictSame(places(peer), [two, three, undefined]);
});

void t.test('a session that we answer waits until it is used', async (t) => {
  const peer = makePeer();
  const [one, two, three] = [session(true), session(false), session(false)];
  peer.beginInitiated(one);
  t.strictSame(present(peer.beginAnswered(two)), []);
  t.strictSame(places(peer), [undefined, one, two]);
  t.strictSame(present(peer.beginAnswered(three)), [two], 'one that was never used ends');
  t.strictSame(present(peer.confirmNext()), []);
  t.strictSame(places(peer), [one, three, undefined]);
  const four = session(false);
  t.strictSame(present(peer.beginAnswered(four)), [one]);
  t.strictSame(places(peer), [undefined, three, four]);
});

void t.test('where both begin at once, the answered session stays for what is under way in it', async (t) => {
  const peer = makePeer();
  const [old, answered, begun] = [session(true), session(false), session(true)];
  peer.beginInitiated(old);
  peer.beginAnswered(answered);
  t.strictSame(present(peer.beginInitiated(begun)), [old]);
  t.strictSame(places(peer), [answered, begun, undefined]);
  t.strictSame(present(peer.endSessions()), [answered, begun]);
  t.strictSame(places(peer), [undefined, undefined, undefined]);
});

void t.test('a session takes its keys over', async (t) => {
  const keys = { send: new Uint8Array(32).fill(1), receive: new Uint8Array(32).fill(2) };
  const made = new Session(nodeAead, keys, true, 0, 0, 0);
  t.same([keys.send, keys.receive], [new Uint8Array(32), new Uint8Array(32)]);
  t.equal(made.expired(179_999), false);
  t.equal(made.expired(180_000), true);
});
