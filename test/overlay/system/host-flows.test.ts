// What is remembered of connections to programs of the host: enough to cut each of them, and never by the peer's word alone.
import t from 'tap';
import { generatePrivateKey, keyToText, publicFromPrivate } from '#crypto/x25519.ts';
import { parseIp } from '#lib/ip.ts';
import { parsePublicKey } from '#model/ids.ts';
import { MAX_CUT_FLOWS, MAX_TRACKED_FLOWS } from '#overlay/constants.ts';
import { HostFlows } from '#overlay/system/host-flows.ts';

const peer = parsePublicKey(keyToText(publicFromPrivate(generatePrivateKey())));
const host = parseIp('100.92.0.1');
const other = parseIp('100.92.0.2');
if (peer === undefined || host === undefined || other === undefined) throw new TypeError('fixtures');
const local = { ip: host, port: 22 };
const from = (port: number) => ({ ip: other, port });

/** A header with the addresses and ports of a segment from the peer, or to it. */
function segment(port: number, outbound = false): Uint8Array {
  const packet = Buffer.alloc(40);
  packet.set(outbound ? (host?.bytes ?? []) : (other?.bytes ?? []), 12);
  packet.set(outbound ? (other?.bytes ?? []) : (host?.bytes ?? []), 16);
  packet.writeUInt16BE(outbound ? 22 : port, 20);
  packet.writeUInt16BE(outbound ? port : 22, 22);
  return packet;
}
const cut = (flows: HostFlows, port: number): boolean => flows.isCut(segment(port), 12, 4, 20);

t.test('a connection is cut when its permission goes, and may come again', async (t) => {
  const flows = new HostFlows();
  t.equal(flows.note(peer, local, from(1000)), true);
  flows.recheck(() => undefined);
  t.equal(cut(flows, 1000), false);
  flows.recheck(() => new Error('gone'));
  t.equal(cut(flows, 1000), true);
  t.equal(cut(flows, 1001), false, 'and no other');
  flows.note(peer, local, from(1000));
  t.equal(cut(flows, 1000), false);
});

t.test('only the kernel says that a connection is over', async (t) => {
  const flows = new HostFlows();
  flows.note(peer, local, from(1000));
  flows.ended(segment(1000, true), 16, 4, 20);
  flows.recheck(() => new Error('gone'));
  t.equal(cut(flows, 1000), false, 'nothing is left to cut');
});

t.test('a connection that newer ones push out is cut, not forgotten', async (t) => {
  const flows = new HostFlows();
  for (let port = 1; port <= MAX_TRACKED_FLOWS + 1; port++) flows.note(peer, local, from(port));
  t.equal(cut(flows, 1), true);
  t.equal(cut(flows, 2), false);
});

t.test('when no more can be remembered, no more are let in', async (t) => {
  const flows = new HostFlows();
  let admitted = 0;
  for (let i = 0; i < MAX_CUT_FLOWS + 2 * MAX_TRACKED_FLOWS; i++) {
    if (flows.note(peer, { ip: host, port: 22 + (i >> 16) }, from(i & 0xffff))) admitted++;
  }
  t.equal(admitted, MAX_CUT_FLOWS + MAX_TRACKED_FLOWS);
});
