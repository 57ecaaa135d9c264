// One change and a thousand peers that have to hear of it: the real domain and the real streams, with what is sent made into bytes.
import t, { type Test } from 'tap';
import { systemClock } from '#lib/clock.ts';
import type { GroupId, PublicKey } from '#model/ids.ts';
import { SyncStream, SyncStreams } from '#server/management/sync-streams.ts';
import { MapEncoder, syncResponseBytes } from '#server/management/map-bytes.ts';
import { Sealer } from '#rpc/sealed.ts';
import { Gate } from '#server/management/gate.ts';
import { maxBuilds } from '#server/management/constants.ts';
import { keyOf, metaOf, openDomain, system, type Fixture } from '../domain/support.ts';

const peers = 1_000;
const dayMs = 86_400;

/** Peers of the domain with an open stream each; `sent` are the bytes that went out. */
class Crowd {
  readonly #fixture: Fixture;
  readonly #streams = new SyncStreams();
  readonly #builds = new Gate(maxBuilds);
  readonly #encoder = new MapEncoder();
  readonly #sealer = new Sealer(new Uint8Array(32).fill(9));
  readonly #ending = new AbortController();
  readonly #running: Promise<void>[] = [];
  messages = 0;
  bytes = 0;
  last = 0;

  constructor(fixture: Fixture) {
    this.#fixture = fixture;
    fixture.domain.changes.subscribe((change) => {
      if (change.kind === 'network') this.#streams.mapChanged(change.peers);
    });
  }

  join(publicKey: PublicKey): void {
    const stream = new SyncStream(publicKey, {
      build: (peer) => this.#builds.run(async () => this.#encoder.encode(await this.#fixture.domain.maps.build(peer))),
      clock: systemClock,
      send: async ({ map }) => {
        if (map === undefined) return;
        this.bytes += this.#sealer.sealBytes(syncResponseBytes({}, map), publicKey).length;
        await new Promise(setImmediate); // as a socket takes it
        this.messages += 1;
        this.last = performance.now();
      },
    });
    this.#streams.add(publicKey, stream);
    this.#running.push(stream.run(this.#ending.signal));
  }

  /** Runs the change and waits until as many messages have gone out. */
  async told(t: Test, what: string, count: number, change: () => Promise<unknown>): Promise<number> {
    [this.messages, this.bytes] = [0, 0];
    const before = process.memoryUsage().rss;
    const begun = performance.now();
    await change();
    while (this.messages < count) await new Promise(setImmediate);
    const ms = this.last - begun;
    const grown = Math.max(0, process.memoryUsage().rss - before) / 1e6;
    t.comment(
      `figure: ${what}: ${count} maps, ${(this.bytes / 1e6).toFixed(1)} MB, all out after ${ms.toFixed(0)} ms; resident memory grew ${grown.toFixed(0)} MB`,
    );
    return ms;
  }

  async close(): Promise<void> {
    this.#ending.abort();
    await Promise.all(this.#running);
  }
}

void t.test('a thousand peers hear of a change', async (t) => {
  const fixture = await openDomain();
  const { domain } = fixture;
  t.teardown(() => domain.close());
  const group = async (name: string): Promise<GroupId> => (await domain.groups.create({ name, peers: [] }, system)).id;
  const [clients, servers] = [await group('clients'), await group('servers')];
  const keyFor = async (autoGroups: readonly GroupId[]): Promise<string> =>
    (await domain.setupKeys.create({ name: 'k', type: 'reusable', expiresInSeconds: dayMs, usageLimit: 0, ephemeral: false, autoGroups }, system))
      .plain;
  const [clientKey, serverKey] = [await keyFor([clients]), await keyFor([servers])];
  const begun = performance.now();
  for (let index = 0; index < peers; index++) {
    const name = `p${index}`;
    const setupKey = index < 10 ? serverKey : clientKey;
    await domain.peers.login({ publicKey: keyOf(name), meta: metaOf(name), setupKey, userId: undefined });
  }
  t.comment(`figure: ${peers} peers registered, ${((performance.now() - begun) / peers).toFixed(2)} ms each`);
  const crowd = new Crowd(fixture);
  t.teardown(() => crowd.close());
  await crowd.told(t, 'all connect at once, nobody sees anybody', peers, async () => {
    for (let index = 0; index < peers; index++) crowd.join(keyOf(`p${index}`));
  });
  const rule = {
    name: 'r',
    description: '',
    enabled: true,
    action: 'accept' as const,
    bidirectional: false,
    protocol: 'tcp' as const,
    ports: [{ start: 443, end: 443 }],
  };
  const policy = (sources: GroupId, destinations: GroupId) => ({
    name: 'p',
    description: '',
    enabled: true,
    rules: [{ ...rule, sources: [sources], destinations: [destinations] }],
  });
  const star = await crowd.told(t, '990 clients are let to 10 servers', peers, () => domain.policies.create(policy(clients, servers), system));
  t.ok(star < 10_000, 'comes to an end; the figure says how soon');
  const [first] = await domain.policies.list();
  if (first === undefined) throw new TypeError('no policy');
  const port = { ...policy(clients, servers), rules: [{ ...rule, ports: [{ start: 80, end: 80 }], sources: [clients], destinations: [servers] }] };
  await crowd.told(t, 'another port: news to the servers only', 10, () => domain.policies.update(first.id, port, system));
  const mesh = await crowd.told(t, 'everybody to everybody', peers - 10, () => domain.policies.create(policy(clients, clients), system));
  t.ok(mesh < 60_000, 'comes to an end');
});
