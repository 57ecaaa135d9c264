// One connection to each relay: a peer that names our own home relay before we are connected to it must not make us open a second one.
import t from 'tap';
import { generatePrivateKey, publicFromPrivate } from '#crypto/x25519.ts';
import { toBase64 } from '#lib/bytes.ts';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { parsePublicKey, type PublicKey } from '#model/ids.ts';
import { RelayHub } from '../../src/overlay/path/relay.ts';
import { TestRelay, until } from './pair.ts';

function newKey(): PublicKey {
  const key = parsePublicKey(toBase64(publicFromPrivate(generatePrivateKey())));
  if (key === undefined) throw new TypeError('no key');
  return key;
}

void t.test('the home relay named early, and again while it is away, is connected to once', async (t) => {
  const relay = await new TestRelay().start();
  const homes: (string | undefined)[] = [];
  const hub = new RelayHub({
    publicKey: newKey(),
    ca: undefined,
    clock: systemClock,
    log: silentLogger,
    random: Math.random,
    homeChanged: (url) => homes.push(url),
  });
  t.teardown(async () => {
    hub.close();
    await relay.stop();
  });
  const path = hub.open(newKey(), { datagram: () => undefined, changed: () => undefined });
  hub.setEndpoints(relay.endpoints().relay);
  path.use(relay.url);
  await until(() => hub.homeUrl !== undefined, 3000);
  t.equal(hub.foreignStatus().length, 0);
  // A relay that is away for a moment, while an offer names it.
  await relay.stop();
  await until(() => hub.homeUrl === undefined, 3000);
  path.use(undefined);
  path.use(relay.url);
  await relay.start();
  hub.refresh();
  await until(() => hub.homeUrl !== undefined, 5000);
  const seen = homes.length;
  const since = performance.now();
  await until(() => performance.now() - since > 2000, 4000);
  t.equal(homes.length, seen, 'nobody took its place');
  t.equal(hub.foreignStatus().length, 0);
  t.equal(relay.server.stats().connections, 1);
});
