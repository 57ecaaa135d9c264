// The agent forwards a port to its target and to nothing else, and tells why a target failed.
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { duplexPair, PassThrough, type Duplex } from 'node:stream';
import t, { type Test } from 'tap';
import { hostDial } from '#lib/host-dial.ts';
import { silentLogger } from '#lib/log.ts';
import { asId, type PublicKey } from '#model/ids.ts';
import { Forwarder } from '../../src/agent/forward.ts';

/** An accepted overlay connection whose far end the test holds. */
function connection(port: number): { readonly far: Duplex; readonly accepted: Parameters<Forwarder['handle']>[0] } {
  const [far, stream] = duplexPair();
  far.on('error', () => undefined);
  stream.on('error', () => undefined);
  return {
    far,
    accepted: { stream, peer: asId<PublicKey>('peer'), local: { address: '100.64.0.9', port }, remote: { address: '100.64.0.1', port: 5 } },
  };
}

async function echo(t: Test): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

void t.test('a mapped port leads to its target, both ways, to the end', async (t) => {
  const port = await echo(t);
  const forwarder = new Forwarder(new Map([[80, { host: '127.0.0.1', port }]]), undefined, { dial: hostDial, log: silentLogger });
  const { far, accepted } = connection(80);
  const done = forwarder.handle(accepted);
  far.end('hello');
  t.equal(Buffer.concat(await far.toArray()).toString(), 'hello');
  await done;
  t.match(forwarder.status(), [{ target: `127.0.0.1:${port}`, open: 0, total: 1, reason: '' }]);
});

void t.test('without a default host only the listed ports are wanted', async (t) => {
  const forwarder = new Forwarder(new Map([[80, { host: '127.0.0.1', port: 1 }]]), undefined, { dial: hostDial, log: silentLogger });
  t.ok(forwarder.wants(80));
  t.notOk(forwarder.wants(81));
  const { accepted } = connection(81);
  await forwarder.handle(accepted);
  t.ok(accepted.stream.destroyed);
});

void t.test('with a default host a port leads to the same port there', async (t) => {
  const dialled: unknown[] = [];
  const forwarder = new Forwarder(new Map(), '10.0.0.5', {
    dial: async (target) => {
      dialled.push(target);
      return new PassThrough();
    },
    log: silentLogger,
  });
  t.ok(forwarder.wants(5432));
  const { far, accepted } = connection(5432);
  const done = forwarder.handle(accepted);
  far.end();
  far.resume();
  await done;
  t.same(dialled, [{ host: '10.0.0.5', port: 5432 }]);
});

void t.test('a target that refuses ends the connection, and the status says why', async (t) => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  const forwarder = new Forwarder(new Map([[80, { host: '127.0.0.1', port }]]), undefined, { dial: hostDial, log: silentLogger });
  const { accepted } = connection(80);
  await forwarder.handle(accepted);
  t.ok(accepted.stream.destroyed);
  t.match(forwarder.status(), [{ open: 0, reason: /ECONNREFUSED/ }]);
});
