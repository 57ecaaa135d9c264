// The saved map holds networks behind peers and names too, and is none where a part of them cannot be read.
import t from 'tap';
import { parseSaved, savedText } from '../../src/mesh/saved-map.ts';
import { ip, key, prefix } from '../overlay/words.ts';
import type { SavedMesh } from '../../src/mesh/saved-map.ts';

const route = { id: 'r', netId: 'office', peer: key(2), metric: 5, masquerade: true, keepAddresses: false, autoApply: true };
const rule = { action: 'accept', sources: [prefix('100.92.0.2/32')], protocol: 'tcp', routeId: 'r' } as const;
const saved: SavedMesh = {
  map: {
    serial: 7n,
    self: { v4: prefix('100.92.0.1/16'), v6: undefined, fqdn: 'a.mesh.test' },
    peers: [],
    filter: { kind: 'rules', rules: [] },
    lazy: false,
    routing: {
      routes: [
        { ...route, destination: { kind: 'prefix', prefix: prefix('10.7.0.0/16') } },
        { ...route, id: 's', destination: { kind: 'domains', domains: ['*.corp.test', 'a.test'] } },
      ],
      rules: [
        { ...rule, destination: { kind: 'prefix', prefix: prefix('fd07::/64') }, ports: { start: 1, end: 2 } },
        { ...rule, action: 'drop', destination: { kind: 'domains', domains: ['a.test'] }, ports: undefined },
      ],
      resolveAtRouter: true,
      forwarderPort: 22_054,
    },
    dns: {
      zones: [
        {
          domain: 'mesh.test',
          records: [{ name: 'b.mesh.test', type: 'AAAA', ttlSeconds: 300, data: 'fd00::2' }],
          authoritative: true,
          searchDisabled: false,
        },
      ],
      nameServerGroups: [{ servers: [{ ip: ip('10.7.0.53'), port: 53 }], primary: false, domains: ['corp.test'], searchDomains: true }],
    },
  },
  endpoints: { signal: { host: 'mesh.test', port: 443, tls: true }, stunUrls: [], relay: undefined },
};

t.test('what was saved comes back', async (t) => {
  t.same(parseSaved(savedText(saved)), saved);
  const { routing: _routing, dns: _dns, ...plain } = saved.map;
  t.same(parseSaved(savedText({ ...saved, map: plain })), { ...saved, map: plain });
});

t.test('any other type anywhere makes the whole file none', async (t) => {
  const text = savedText(saved);
  let changed = 0;
  // Each value of the two parts in turn becomes one of another type; what may be left out is left alone.
  const walk = (value: unknown, put: (other: unknown) => void): void => {
    if (typeof value === 'object' && value !== null) {
      for (const [name, inner] of Object.entries(value)) walk(inner, (other) => Object.assign(value, { [name]: other }));
    }
    put(typeof value === 'boolean' ? 'true' : true);
    changed++;
    t.equal(parseSaved(JSON.stringify(file)), undefined, JSON.stringify(value));
    put(value);
  };
  const file = JSON.parse(text) as Record<string, unknown>;
  for (const name of ['routing', 'dns']) walk(file[name], (other) => Object.assign(file, { [name]: other }));
  t.same(parseSaved(JSON.stringify(file)), saved, 'and everything was put back');
  t.ok(changed > 50);
});
