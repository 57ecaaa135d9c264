// Which TLS or web service a name on a port means.
import { connect as tlsConnect } from 'node:tls';
import { Duplex } from 'node:stream';
import t from 'tap';
import { dial, open, read, stream, upstream } from './door.ts';

/** The first message of a TLS client that asks for the name. */
async function helloFor(servername: string): Promise<Buffer> {
  return await new Promise((done) => {
    const wire = new Duplex({ read: () => undefined, write: (chunk: Buffer) => done(chunk) });
    tlsConnect({ socket: wire, servername }).on('error', () => undefined);
  });
}

void t.test('a name of a tls service may be a wildcard; the closer name wins, whoever has it', async (t) => {
  const [wild, exact, rest] = [await upstream(t, () => 'wild'), await upstream(t, () => 'exact'), await upstream(t, () => 'rest')];
  const services = [
    stream('*.db.test', [wild.port], { mode: 'tls' }),
    stream('one.db.test', [exact.port], { mode: 'tls' }),
    stream('rest.test', [rest.port]),
  ];
  const door = await open(t, services, true);
  const ask = async (servername: string): Promise<string> => {
    const socket = dial(door);
    socket.end(await helloFor(servername));
    return await read(socket);
  };
  t.equal(await ask('a.db.test'), 'wild');
  t.equal(await ask('one.db.test'), 'exact');
  t.equal(await ask('a.b.db.test'), 'rest', 'a wildcard is one label');
  t.equal(await ask('db.test'), 'rest');
  t.equal(await ask('web.db.test'), 'elsewhere', 'pages at exactly that name');
  t.equal(await ask('x.web.test'), 'elsewhere', 'pages of a wildcard come before who takes the rest');
  t.same(door.passedOn, ['web.db.test', 'x.web.test']);
  door.apply(services.slice(2));
  t.equal(await ask('web.db.test'), 'elsewhere', 'also where only one takes the rest');
  t.equal(await ask('a.db.test'), 'rest');
});
