import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { createMeshNode, type MeshNode } from '#mesh/index.ts';
import { goodKey, meta } from '../control/peer-helpers.ts';
import { FakeDomain } from '../server/management/fake-domain.ts';
import { startServer, type FakeServer } from '../server/management/fake-server.ts';

async function node(t: Test, server: FakeServer): Promise<MeshNode> {
  const stateFolder = await mkdtemp(join(tmpdir(), 'meshgate-mesh-'));
  t.teardown(() => rm(stateFolder, { recursive: true, force: true }));
  const made = await createMeshNode(
    {
      control: { url: server.url, ca: server.ca.caPem },
      stateFolder,
      meta,
      setupKey: goodKey,
      overlay: { listenPort: 0, hostAddresses: ['127.0.0.1'] },
    },
    { log: silentLogger, clock: systemClock },
  );
  t.teardown(() => made.close());
  await made.start(AbortSignal.timeout(5000));
  return made;
}

void t.test('two nodes find each other through signal and carry TCP', async (t) => {
  const domain = new FakeDomain();
  domain.filter = { kind: 'rules', rules: [{ direction: 'in', action: 'accept', protocol: 'tcp', peer: undefined, ports: { start: 80, end: 80 } }] };
  const server = await startServer({ domain });
  t.teardown(() => server.close());
  const [server1, client] = [await node(t, server), await node(t, server)];
  server1.overlay.accept(
    (port) => port === 80,
    ({ stream, peer }) => {
      t.equal(peer, client.publicKey);
      stream.end(`hello from ${server1.status().fqdn ?? ''}`);
    },
  );
  const address = server1.status().address ?? '';
  const stream = await client.overlay.dial({ host: address, port: 80 }, { signal: AbortSignal.timeout(15_000) });
  stream.end();
  t.equal(await text(stream), 'hello from box-1.mesh.test');
  t.match(client.status().peers, [{ publicKey: server1.publicKey, path: { kind: 'direct' } }]);
});
