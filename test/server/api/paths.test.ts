// Paths of peers in the API, and at the command line: those that were told, bounded, and for whoever may see the peer.
import t from 'tap';
import { asId, type PublicKey } from '#model/ids.ts';
import { type KeptReport, maxReportedPaths, type ReportedPath } from '#model/path-report.ts';
import { maxListedPaths } from '#server/api/constants.ts';
import { run } from '../../cli/fake-io.ts';
import { withApi } from './client.ts';

function path(publicKey: PublicKey, changes: Partial<ReportedPath> = {}): ReportedPath {
  return {
    publicKey,
    kind: 'direct',
    latencyMs: 1.2345,
    since: 1_700_000_000_000,
    lastSwitchAt: undefined,
    lastSwitchReason: 'a direct path was found',
    switches: 3,
    receivedBytes: 5,
    sentBytes: 7,
    ...changes,
  };
}

void t.test('a peer’s paths are told with names; those of other programs have none', async (t) => {
  const reports = new Map<PublicKey, KeptReport>();
  const api = await withApi(t.teardown, { pathsOf: (peer) => reports.get(peer) });
  const { owner, user } = api.as;
  const [web, db, stock] = [api.addPeer('web'), api.addPeer('db'), api.addPeer('stock', { userId: user.user.id })];
  const gone = asId<PublicKey>(Buffer.alloc(32, 255).toString('base64'));
  reports.set(web.publicKey, {
    at: 1_700_000_100_000,
    omitted: 2,
    paths: [path(db.publicKey), path(stock.publicKey, { kind: undefined, latencyMs: undefined, since: undefined }), path(gone), path(web.publicKey)],
  });
  const { body } = await api.call('GET', `/api/peers/${web.id}`, owner.token);
  const told = {
    reported_at: '2023-11-14T22:15:00.000Z',
    summary: { direct: 1, relay: 0, none: 1, omitted: 2 },
    paths: [
      {
        peer_id: db.id,
        peer_name: 'db',
        kind: 'direct',
        latency_ms: 1.23,
        since: '2023-11-14T22:13:20.000Z',
        last_switch_at: null,
        last_switch_reason: 'a direct path was found',
        switches: 3,
        bytes_received: 5,
        bytes_sent: 7,
      },
      { peer_name: 'stock', kind: 'none', latency_ms: null, since: null },
    ],
  };
  t.match(body, { meshgate: told }, 'what is no peer, and the peer itself, are left out');
  t.equal((body as { meshgate: { paths: unknown[] } }).meshgate.paths.length, 2);
  const listed = (await api.call('GET', '/api/peers', owner.token)).body as readonly { readonly name: string; readonly meshgate?: unknown }[];
  t.match(listed.find(({ name }) => name === 'web')?.meshgate, told);
  t.notOk(Object.hasOwn(listed.find(({ name }) => name === 'stock') ?? {}, 'meshgate'));
  const seen = (await api.call('GET', '/api/peers', user.token)).body as readonly { readonly name: string }[];
  t.same(
    seen.map(({ name }) => name),
    ['stock'],
    'a member sees own peers only',
  );
  t.equal((await api.call('GET', `/api/peers/${web.id}`, user.token)).status, 404);

  const env = { MESHGATE_API: `http://127.0.0.1:${api.port}`, MESHGATE_TOKEN: owner.token };
  const shown = await run(['peer', 'show', 'web'], { env });
  t.match(shown, { code: 0, out: /^name: web$/m });
  t.match(shown.out, /^db +direct +1\.23 .*a direct path was found$/m);
  t.match(shown.out, /and 2 more/);
  t.match(await run(['peer', 'show', 'stock'], { env }), { code: 0, out: /has told none/ });
  t.match((await run(['peer', 'list'], { env })).out, /DIRECT +RELAYED +NO PATH[\s\S]*web .* 1 +0 +1/);
});

void t.test('a list is bounded: beyond so many paths there are summaries', async (t) => {
  const reports = new Map<PublicKey, KeptReport>();
  const api = await withApi(t.teardown, { pathsOf: (peer) => reports.get(peer) });
  const peers = Array.from({ length: 30 }, (_, i) => api.addPeer(`p${i}`));
  for (const { publicKey } of peers) {
    const others = peers.filter((other) => other.publicKey !== publicKey);
    const paths = Array.from({ length: maxReportedPaths }, (_, i) => path(others[i % others.length]?.publicKey ?? publicKey));
    reports.set(publicKey, { at: 0, omitted: 0, paths });
  }
  const listed = (await api.call('GET', '/api/peers', api.as.owner.token)).body as readonly {
    readonly meshgate: { readonly summary: { readonly direct: number }; readonly paths?: readonly unknown[] };
  }[];
  t.ok(listed.every(({ meshgate }) => meshgate.summary.direct === maxReportedPaths));
  const paths = listed.reduce((sum, { meshgate }) => sum + (meshgate.paths?.length ?? 0), 0);
  t.ok(paths <= maxListedPaths && paths > maxListedPaths - maxReportedPaths, `${paths} paths`);
});
