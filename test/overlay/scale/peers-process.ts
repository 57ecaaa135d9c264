// Measures, in a process of its own with a collector that can be called, what peers cost an overlay: known and never used, and connected.
// Run with --expose-gc. Prints one line of JSON.
import { randomBytes } from 'node:crypto';
import { toBase64 } from '#lib/bytes.ts';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { parsePublicKey } from '#model/ids.ts';
import type { NetworkMap, RemotePeer } from '#model/network-map.ts';
import { createOverlay, type SignalPort } from '#overlay/index.ts';
import { prefix } from '../pair.ts';
import { settledMemory } from './settled-memory.ts';

const count = Number(process.argv[2] ?? 10_000);

const silent: SignalPort = { send: () => undefined, receive: () => undefined, onConnected: () => undefined };

function strangers(): readonly RemotePeer[] {
  return Array.from({ length: count }, (_, i): RemotePeer => {
    const publicKey = parsePublicKey(toBase64(randomBytes(32)));
    if (publicKey === undefined) throw new TypeError('key');
    return {
      publicKey,
      allowedIps: [prefix(`100.${64 + (i >> 14)}.${(i >> 6) & 255}.${(i & 63) + 1}/32`)],
      fqdn: `peer${i}.mesh.test`,
      agentVersion: '0.70.0',
    };
  });
}

const overlay = await createOverlay(
  { signal: silent, log: silentLogger, clock: systemClock },
  { privateKey: randomBytes(32), listenPort: 0, version: 'test', ca: undefined, hostAddresses: ['127.0.0.1'] },
);
const peers = strangers();
const map = (serial: bigint, lazy: boolean, list: readonly RemotePeer[]): NetworkMap => ({
  serial,
  lazy,
  self: { v4: prefix('100.64.255.1/10'), v6: undefined, fqdn: 'self.mesh.test' },
  peers: list,
  filter: { kind: 'open' },
});
const empty = await settledMemory();
overlay.apply(map(1n, true, peers));
const lazy = await settledMemory();
overlay.apply(map(2n, false, peers));
const seeking = await settledMemory();
const states = new Set(overlay.status().peers.map(({ state }) => state));
overlay.apply(map(3n, false, []));
const gone = await settledMemory();
const kilobytes = (from: number, to: number): number => (to - from) / count / 1024;
console.log(
  JSON.stringify({
    count,
    states: [...states],
    lazyKb: kilobytes(empty, lazy),
    seekingKb: kilobytes(empty, seeking),
    leftKb: kilobytes(empty, gone),
  }),
);
await overlay.close();
