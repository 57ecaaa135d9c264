// Private services: reached by peers of their access groups over the mesh, by name, without signing in; by nobody else, and not from outside.
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'node:tls';
import t from 'tap';
import type { MeshNode } from '#mesh/index.ts';
import {
  call,
  cluster,
  findPeer,
  joinPeer,
  type Json,
  makeGroup,
  makeSetupKey,
  type Plane,
  startAgentPart,
  startGatewayPart,
  startPlane,
  until,
} from '../support/parts.ts';

const wiki = `wiki.${cluster}`;

/** One request over an overlay connection; the answer's text, or the error's code. */
async function visit(from: MeshNode, plane: Plane, more = ''): Promise<string> {
  const stream = await from.overlay
    .dial({ host: wiki, port: 443 }, { signal: AbortSignal.timeout(5_000) })
    .catch((error: NodeJS.ErrnoException) => String(error.code));
  if (typeof stream === 'string') return stream;
  const socket = connect({ socket: stream, servername: wiki, ca: plane.caPem });
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  socket.write(`GET /x HTTP/1.1\r\nHost: ${wiki}\r\nX-Meshgate-User: somebody\r\n${more}Connection: close\r\n\r\n`);
  await new Promise<void>((done) => {
    stream.on('error', () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.once('close', () => done());
  });
  return text;
}

void t.test(
  'peers of the access group reach a private service by its name, known by their peer; everybody else does not',
  { timeout: 120_000 },
  async (t) => {
    const seen: IncomingMessage[] = [];
    const open = new Set<() => void>();
    const app = createServer((asked, answer) => {
      seen.push(asked);
      if (asked.url !== '/x') return;
      if (asked.headers['x-stay'] === undefined) return void answer.end('the wiki');
      answer.writeHead(200);
      answer.write('begun');
      open.add(() => answer.end());
    });
    app.listen(0, '127.0.0.1');
    await once(app, 'listening');
    t.teardown(() => {
      app.closeAllConnections();
      app.close();
    });
    const plane = await startPlane(t);
    const { certPem, keyPem } = await plane.ca.issue([wiki]);
    const directory = join(plane.folder, 'certs');
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, `${wiki}.key`), keyPem, { mode: 0o600 });
    await writeFile(join(directory, `${wiki}.crt`), certPem);
    const gateway = await startGatewayPart(t, plane);
    const readers = await makeGroup(plane, 'readers');
    const key = await makeSetupKey(plane, []);
    await startAgentPart(t, plane, 'office', key, {});
    const laptop = await joinPeer(t, plane, 'laptop', await makeSetupKey(plane, [readers]));
    const stranger = await joinPeer(t, plane, 'stranger', key);
    const target = await findPeer(plane, 'office');
    const body = {
      name: 'wiki',
      domain: wiki,
      private: true,
      access_groups: [readers],
      targets: [{ target_id: target['id'], target_type: 'peer', protocol: 'http', port: (app.address() as AddressInfo).port }],
    };
    const service = await call(plane, 'POST', '/api/reverse-proxies/services', body);

    let answer = '';
    await until('the laptop reads', async () => (answer = await visit(laptop, plane)).startsWith('HTTP/1.1 200'), 60_000);
    t.match(answer, /the wiki$/);
    const headers = seen.at(-1)?.headers;
    t.match(headers, { 'x-meshgate-name': 'laptop', 'x-meshgate-groups': /readers/ });
    t.match(headers?.['x-meshgate-user'], /^peer:/, 'the id of the peer, and not what the client claimed');
    t.type(headers?.['x-meshgate-assertion'], 'string');

    t.match(
      await visit(laptop, plane, 'Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n'),
      /^HTTP\/1\.1 401 /,
      'a page of another site uses nobody’s laptop',
    );
    t.match(await visit(stranger, plane), /^(?:EAI_AGAIN|ENOTFOUND|EHOSTUNREACH|ETIMEDOUT)$/, 'who is not in the group is not even told where it is');

    const outside = connect({ host: '127.0.0.1', port: gateway.publicPort, servername: wiki, ca: plane.caPem });
    outside.write(`GET /x HTTP/1.1\r\nHost: ${wiki}\r\nConnection: close\r\n\r\n`);
    let text = '';
    outside.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    await once(outside, 'close');
    t.match(text, /^HTTP\/1\.1 403 /, 'from outside it is closed');

    // What is open ends when the peer leaves the group.
    const before = seen.length;
    const staying = visit(laptop, plane, 'X-Stay: 1\r\n');
    await until('the stream is open', () => seen.length > before);
    const peers = ((await call(plane, 'GET', `/api/groups/${readers}`))['peers'] as readonly Json[]).map(({ id }) => id);
    t.equal(peers.length, 1);
    const left = performance.now();
    await call(plane, 'PUT', `/api/groups/${readers}`, { name: 'readers', peers: [] });
    await staying;
    const took = performance.now() - left;
    t.comment(`figure: a stream of a peer that left its group ended after ${took.toFixed(0)} ms`);
    t.ok(took < 2_000, `${took.toFixed(0)} ms`);
    t.notMatch(await visit(laptop, plane), /200/);
    const log = (await plane.api.call('GET', '/api/events/proxy?page_size=50')) as { readonly data: readonly Json[] };
    t.ok(
      log.data.some((entry) => entry['host'] === wiki && entry['auth_method_used'] === 'peer'),
      'the access log says how it was let in',
    );
    await call(plane, 'DELETE', `/api/reverse-proxies/services/${String(service['id'])}`);
  },
);
