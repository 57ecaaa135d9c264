// What a peer costs that has nothing to say: configured only, and with a session that has been used.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { nodeAead } from '#crypto/aead.ts';
import { generatePrivateKey, keyToText, publicFromPrivate } from '#crypto/x25519.ts';
import { createDevice } from '#wireguard/device.ts';
import type { DeviceSink, WireGuardDevice } from '#wireguard/types.ts';
import { prefix, seededBytes } from './pair.ts';

const configuredPeers = 10_000;
const sessionPeers = 1_000;
const mostBytesPerPeer = 8 * 1024;

setFlagsFromString('--expose-gc');
const collect: unknown = runInNewContext('gc');

/** Bytes in use after a collection, those outside of the heap included. */
function inUse(): number {
  for (let i = 0; i < 3; i++) if (typeof collect === 'function') collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const silent: DeviceSink = {
  sendDatagram: () => undefined,
  deliverPacket: () => undefined,
  authenticated: () => undefined,
  handshake: () => undefined,
};

const address = (i: number): string => `10.${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}/32`;

void t.test('ten thousand idle peers, a thousand of them with a session', { timeout: 120_000 }, async (t) => {
  const random = seededBytes('many');
  const bytes = new Uint8Array(32);
  const privateKeys = Array.from({ length: sessionPeers }, () => generatePrivateKey(random));
  const publicKeys = privateKeys.map((one) => keyToText(publicFromPrivate(one)));
  while (publicKeys.length < configuredPeers) {
    random(bytes);
    publicKeys.push(keyToText(bytes));
  }
  const hubKey = generatePrivateKey(random);
  const hubPublic = keyToText(publicFromPrivate(hubKey));
  let side: WireGuardDevice | undefined;
  let completed = 0;
  const hub = createDevice(
    { privateKey: hubKey, random, wall: () => 1_700_000_000_000, limits: { handshakesPerSecond: configuredPeers } },
    {
      ...silent,
      sendDatagram: (_peer, datagram) => side?.receiveDatagram(datagram.slice(), 'hub', 0),
      handshake: (_peer, done) => {
        if (done) completed++;
      },
    },
  );
  /** The other side of each session, one after the other; only the first is still there at the end, as what was made once for all. */
  const connect = (privateKey: Uint8Array): void => {
    side = createDevice(
      { privateKey, random, wall: () => 1_700_000_000_000, aead: nodeAead },
      { ...silent, sendDatagram: (_peer, datagram) => hub.receiveDatagram(datagram.slice(), 'side', 0) },
    );
    side.setPeer({ publicKey: hubPublic, allowedIps: [], persistentKeepaliveMs: 0 }, 0);
    side.initiate(hubPublic, 0);
    side = undefined;
  };

  const bare = inUse();
  for (const [i, publicKey] of publicKeys.entries()) hub.setPeer({ publicKey, allowedIps: [prefix(address(i))], persistentKeepaliveMs: 25_000 }, 0);
  const configured = inUse();
  const eachConfigured = (configured - bare) / configuredPeers;
  t.comment(`figure: ${eachConfigured.toFixed(0)} bytes for each of ${configuredPeers} configured peers`);
  t.ok(eachConfigured < mostBytesPerPeer / 2, `${eachConfigured} bytes`);

  for (const privateKey of privateKeys) connect(privateKey);
  t.equal(completed, sessionPeers);
  const eachSession = (inUse() - configured) / sessionPeers;
  t.comment(`figure: ${eachSession.toFixed(0)} bytes more for each of ${sessionPeers} sessions`);
  t.ok(eachSession > 500 && eachConfigured + eachSession < mostBytesPerPeer, `${eachSession} bytes`);
  t.equal(hub.status().length, configuredPeers);
});
