// Bytes that nobody honest sent: mutated STUN, TURN and ChannelData, seeded, a million and more. Nothing may throw, grow, or be believed.
import t from 'tap';
import { fromHex } from '#lib/bytes.ts';
import { parseIp } from '#lib/ip.ts';
import { decodeStun, encodeStun } from '#wire/stun.ts';
import { channelOf, channelPayload, decodeTurn, encodeTurn, longTermKey, writeChannelData } from '#wire/turn.ts';
import { IceAgent } from '../../../src/overlay/path/ice-agent.ts';
import { localCandidate } from '../../../src/overlay/path/ice-candidate.ts';
import type { RemoteAddress } from '../../../src/overlay/path/path.ts';
import { TurnClient } from '../../../src/overlay/path/turn-client.ts';
import { sortDatagram } from '../../../src/overlay/path/udp-mux.ts';
import { seeded, seededBytes } from '../../support/seeded.ts';

t.setTimeout(300_000);

const decoded = 1_000_000;
const engined = 150_000;

const transactionId = Buffer.alloc(12, 3);
const ip4 = parseIp('192.0.2.7') ?? { family: 4 as const, bytes: new Uint8Array(4) };
const ip6 = parseIp('2001:db8::7') ?? { family: 6 as const, bytes: new Uint8Array(16) };
const credentials = { username: 'anna', realm: 'mesh', nonce: Buffer.from('nonce'), key: longTermKey('anna', 'mesh', 'secret') };
const role = { controlling: false, tieBreaker: 7n };

const channelData = Buffer.alloc(44);
writeChannelData(channelData, 0x4000, Buffer.alloc(40, 5));

/** One of each kind that may come, well formed. */
const corpus: readonly Buffer[] = [
  encodeStun({ class: 'request', transactionId, username: 'aaaa:bbbb', priority: 1, role, useCandidate: true }, 'pwd-of-a'),
  encodeStun({ class: 'success', transactionId, mapped: { ip: ip4, port: 9 } }, 'pwd-of-b'),
  encodeStun({ class: 'success', transactionId, mapped: { ip: ip6, port: 9 } }),
  encodeStun({ class: 'error', transactionId, error: { code: 487, reason: 'Role Conflict' } }, 'pwd-of-b'),
  encodeTurn({ method: 'allocate', class: 'success', transactionId, lifetime: 600, peers: [{ ip: ip4, port: 1 }] }, credentials),
  encodeTurn({ method: 'data', class: 'indication', transactionId, peers: [{ ip: ip4, port: 1 }], data: Buffer.alloc(64, 1) }),
  encodeTurn({ method: 'data', class: 'indication', transactionId, peers: [{ ip: ip6, port: 1 }], data: corpusCheck() }),
  encodeTurn({ method: 'refresh', class: 'error', transactionId }, credentials),
  channelData,
];

function corpusCheck(): Buffer {
  return encodeStun({ class: 'request', transactionId, username: 'aaaa:bbbb', priority: 1, role }, 'pwd-of-a');
}

/** Inputs that once did harm, or nearly: kept as rows. */
const kept: readonly (readonly [string, string])[] = [
  ['empty', ''],
  ['a header alone', '000100002112a442030303030303030303030303'],
  ['an attribute whose length leads outside', '000100042112a4420303030303030303030303030006ffff'],
  ['an attribute header cut in two', '000100022112a4420303030303030303030303030006'],
  ['an address of no family', '0101000c2112a442030303030303030303030303002000080007000000000000'],
  ['an address too short for its family', '010100082112a44203030303030303030303030300200004000200f1'],
  ['an error without a code', '011100062112a442030303030303030303030303000900020400'],
  ['a priority of no bytes', '000100042112a44203030303030303030303030300240000'],
  ['a tie-breaker of four bytes', '000100082112a442030303030303030303030303802a000401020304'],
  ['an integrity of no bytes', '000100042112a44203030303030303030303030300080000'],
  ['ChannelData longer than the datagram', '4000ffff00'],
  ['ChannelData of nothing', '40000000'],
  ['ChannelData cut in its header', '400000'],
  ['a Data indication without a peer', '001700082112a44203030303030303030303030300130004deadbeef'],
  ['a Data indication from port 0', '001700142112a442030303030303030303030303001200080001211221 12a44500130004deadbeef'.replaceAll(' ', '')],
];

/** A mutated copy: bits, bytes, lengths, cuts, insertions, splices of two. */
function mutate(random: () => number, from: readonly Buffer[]): Buffer {
  const pick = (): Buffer => from[Math.floor(random() * from.length)] ?? Buffer.alloc(0);
  let bytes = Buffer.from(pick());
  const times = 1 + Math.floor(random() * 4);
  for (let i = 0; i < times && bytes.length > 0; i++) {
    const at = Math.floor(random() * bytes.length);
    switch (Math.floor(random() * 6)) {
      case 0:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << Math.floor(random() * 8));
        break;
      case 1:
        bytes[at] = Math.floor(random() * 256);
        break;
      case 2:
        bytes = bytes.subarray(0, at);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), Buffer.alloc(1 + Math.floor(random() * 8), Math.floor(random() * 256)), bytes.subarray(at)]);
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), pick().subarray(Math.floor(random() * 20))]);
        break;
      case 5:
        if (bytes.length >= 24) bytes.writeUInt16BE([0, 1, 3, 4, 0xffff, bytes.length][Math.floor(random() * 6)] ?? 0, 22);
    }
  }
  // Half of them with a header that fits, or few would get past it.
  if (bytes.length >= 20 && random() < 0.5) bytes.writeUInt16BE(bytes.length - 20, 2);
  return bytes;
}

function look(bytes: Uint8Array): void {
  const stun = decodeStun(bytes);
  if (stun !== undefined && stun.transactionId.length !== 12) throw new TypeError('transaction id');
  const turn = decodeTurn(bytes);
  if (turn?.data !== undefined && turn.data.length > bytes.length) throw new TypeError('data');
  if (channelOf(bytes) >= 0 && channelPayload(bytes).length > bytes.length - 4) throw new TypeError('payload');
}

void t.test('rows that were found', async (t) => {
  for (const [name, hex] of kept) {
    const bytes = fromHex(hex);
    t.doesNotThrow(() => look(bytes), name);
  }
  t.equal(decodeStun(fromHex(kept[2]?.[1] ?? '')), undefined);
  t.equal(channelOf(fromHex('4000ffff00')), -1);
});

void t.test('a million mutated messages are read or refused', { timeout: 60_000 }, async (t) => {
  const random = seeded(20_261_122);
  const started = performance.now();
  let read = 0;
  for (let i = 0; i < decoded; i++) {
    const bytes = mutate(random, corpus);
    try {
      look(bytes);
      if (decodeStun(bytes) !== undefined || decodeTurn(bytes) !== undefined) read++;
    } catch (error) {
      t.fail(`message ${i}: ${bytes.toString('hex')}: ${String(error)}`);
      return;
    }
  }
  t.comment(`figure: ${decoded} messages in ${(performance.now() - started).toFixed(0)} ms, of which ${read} could be read`);
  t.ok(read > decoded / 50, 'enough of them get past the header');
});

void t.test('an agent and a TURN client under mutated messages: nothing is believed, nothing grows', { timeout: 60_000 }, async (t) => {
  const random = seeded(8656);
  let sent = 0;
  const agent = new IceAgent(
    {
      controlling: true,
      local: { ufrag: 'aaaa', pwd: 'pwd-of-a' },
      remote: { ufrag: 'bbbb', pwd: 'pwd-of-b' },
      tag: 1,
      random: seededBytes(1),
      send: () => sent++,
    },
    0,
  );
  agent.addLocal(localCandidate('host', { address: '192.0.2.1', port: 1 }, 65_535), 0);
  let out = 0;
  let changes = 0;
  let asked: Buffer | undefined;
  const client = new TurnClient({
    ipv6: false,
    username: 'anna',
    password: 'secret',
    random: seededBytes(2),
    send: (datagram) => (asked = Buffer.from(datagram)),
    changed: () => changes++,
    datagram: () => out++,
  });
  client.want(0);
  // Answers to what it has asked, with the right transaction: only the key is missing.
  const answers = [...corpus];
  for (let i = 0; i < engined; i++) {
    const now = i / 20;
    if (asked !== undefined) {
      const id = asked.subarray(8, 20);
      answers[corpus.length] = encodeTurn({ method: 'allocate', class: 'success', transactionId: id, lifetime: 600, peers: [{ ip: ip4, port: 1 }] });
      answers[corpus.length + 1] = encodeTurn({ method: 'allocate', class: 'error', transactionId: id });
      asked = undefined;
    }
    const bytes = mutate(random, answers);
    const source: RemoteAddress = {
      kind: 'direct',
      base: undefined,
      address: `198.51.100.${i % 256}`,
      port: 1 + (i % 60_000),
      reply: () => undefined,
    };
    try {
      sortDatagram(bytes, source, {
        wireGuard: () => undefined,
        stun: (message, from) => agent.receive(message, from, now),
        turn: (datagram) => client.receive(datagram, now),
      });
      if (i % 1000 === 0) {
        agent.poll(now);
        client.poll(now);
      }
    } catch (error) {
      t.fail(`message ${i}: ${bytes.toString('hex')}: ${String(error)}`);
      return;
    }
  }
  t.equal(agent.state, 'checking');
  t.equal(agent.selected, undefined);
  t.equal(out, 0, 'no datagram without an allocation');
  t.same(client.relayed, []);
  t.ok(changes <= 3, `${changes} changes`);
  t.comment(`figure: ${engined} messages, ${sent} answers and checks sent`);
});
