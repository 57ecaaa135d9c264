// Network maps from their bytes, written by the field tables of netbird-wire §2.6: routes, names, rules; and what is not well formed.
import { create, fromBinary } from '@bufbuild/protobuf';
import t from 'tap';
import { networkMapFrom } from '#control/translate.ts';
import { dnsFrom } from '#control/translate-dns.ts';
import { routingFrom } from '#control/translate-routes.ts';
import { formatPrefix, type IpPrefix } from '#lib/ip.ts';
import { silentLogger, type Logger } from '#lib/log.ts';
import { parsePublicKey, type PublicKey } from '#model/ids.ts';
import { DNSConfigSchema, NetworkMapSchema, RouteFirewallRuleSchema, RouteSchema } from '#wire/proto/gen/management_pb.ts';

type Value = number | bigint | string | Uint8Array | readonly Field[];
type Field = readonly [number, Value];

/** Protobuf by hand: varints, and everything else with its length. */
function encode(fields: readonly Field[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([number, value]) => {
      if (typeof value === 'number' || typeof value === 'bigint') return [varint(number << 3), varint(value)];
      const body = typeof value === 'string' || value instanceof Uint8Array ? Buffer.from(value as string) : encode(value);
      return [varint((number << 3) | 2), varint(body.length), body];
    }),
  );
}

function varint(value: number | bigint): Buffer {
  const bytes: number[] = [];
  let left = BigInt.asUintN(64, BigInt(value));
  do {
    bytes.push(Number(left & 0x7fn) | (left > 0x7fn ? 0x80 : 0));
    left >>= 7n;
  } while (left > 0n);
  return Buffer.from(bytes);
}

function key(fill: number): PublicKey {
  const parsed = parsePublicKey(Buffer.alloc(32, fill).toString('base64'));
  if (parsed === undefined) throw new TypeError('key');
  return parsed;
}

const [self, router] = [key(1), key(2)];
const peerConfig: readonly Field[] = [
  [1, '100.92.0.1/16'],
  [4, 'a.mesh.test'],
];

/** A map of these fields beside our own address. */
function mapOf(fields: readonly Field[], log: Logger = silentLogger) {
  return networkMapFrom(fromBinary(NetworkMapSchema, encode([[1, 7], [2, peerConfig], ...fields])), self, log);
}

const plain = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_name, inner: unknown) => (isPrefix(inner) ? formatPrefix(inner) : inner)));

function isPrefix(value: unknown): value is IpPrefix {
  return typeof value === 'object' && value !== null && 'bits' in value && 'address' in value;
}

void t.test('a route, field by field', async (t) => {
  const route: readonly Field[] = [
    [1, 'res1:peer1'],
    [2, '10.7.1.9/16'],
    [3, 1],
    [4, router],
    [5, 9999],
    [6, 1],
    [7, 'office'],
    [9, 1],
    [10, 1],
  ];
  const domains: readonly Field[] = [
    [1, 'res2:peer1'],
    [2, '192.0.2.0/32'],
    [3, 3],
    [4, router],
    [5, 100],
    [7, 'wiki'],
    [8, 'Wiki.Corp.Test.'],
    [8, '*.bücher.test'],
    [8, 'not a name'],
  ];
  const six: readonly Field[] = [
    [1, 'v6'],
    [2, '::/0'],
    [3, 2],
    [4, self],
    [7, 'exit-v6'],
  ];
  const map = mapOf([
    [5, route],
    [5, domains],
    [5, six],
    [2, [[5, 1]]],
    [6, [[4, 22_054]]],
  ]);
  t.same(plain(map?.routing), {
    routes: [
      {
        id: 'res1:peer1',
        netId: 'office',
        destination: { kind: 'prefix', prefix: '10.7.0.0/16' },
        peer: router,
        metric: 9999,
        masquerade: true,
        keepAddresses: true,
        autoApply: false,
      },
      {
        id: 'res2:peer1',
        netId: 'wiki',
        destination: { kind: 'domains', domains: ['wiki.corp.test', '*.xn--bcher-kva.test'] },
        peer: router,
        metric: 100,
        masquerade: false,
        keepAddresses: false,
        autoApply: true,
      },
      {
        id: 'v6',
        netId: 'exit-v6',
        destination: { kind: 'prefix', prefix: '::/0' },
        peer: self,
        metric: 0,
        masquerade: false,
        keepAddresses: false,
        autoApply: true,
      },
    ],
    rules: [],
    resolveAtRouter: true,
    forwarderPort: 22_054,
  });
  t.equal(map?.self.fqdn, 'a.mesh.test', 'the two pieces of peerConfig are one');
  t.equal(mapOf([])?.routing, undefined);
  t.match(mapOf([[5, route]])?.routing, { resolveAtRouter: false, forwarderPort: 5353 }, 'what an older control plane means');
});

void t.test('routes that cannot be read are dropped, alone', async (t) => {
  const good: readonly Field[] = [
    [1, 'good'],
    [2, '10.0.0.0/8'],
    [4, router],
  ];
  const bad: readonly (readonly Field[])[] = [
    [
      [1, 'no peer'],
      [2, '10.0.0.0/8'],
    ],
    [
      [1, 'bad peer'],
      [2, '10.0.0.0/8'],
      [4, 'abc'],
    ],
    [
      [1, 'bad net'],
      [2, '10.0.0.0/40'],
      [4, router],
    ],
    [
      [2, '10.0.0.0/8'],
      [4, router],
    ],
    [
      [1, 'no names'],
      [2, '192.0.2.0/32'],
      [3, 3],
      [4, router],
    ],
    [
      [1, 'bad names'],
      [3, 3],
      [4, router],
      [8, '.'],
      [8, '-x.test'],
      [8, 'a*.test'],
      [8, `${'a'.repeat(64)}.test`],
    ],
  ];
  const map = mapOf([...bad.map((route): Field => [5, route]), [5, good]]);
  t.same(
    map?.routing?.routes.map(({ id }) => id),
    ['good'],
  );
  const many = create(NetworkMapSchema, {
    Routes: Array.from({ length: 20_001 }, (_, i) => ({ ID: String(i), Network: '10.0.0.0/8', Peer: router })),
  });
  t.equal(routingFrom(many, silentLogger)?.routes.length, 20_000);
});

void t.test('a route rule, field by field; what is unreadable grants nothing and forbids all it may mean', async (t) => {
  const route: Field = [
    5,
    [
      [1, 'r'],
      [2, '10.7.0.0/16'],
      [4, self],
    ],
  ];
  const rules = (...all: readonly (readonly Field[])[]): unknown => plain(mapOf([route, ...all.map((rule): Field => [10, rule])])?.routing?.rules);
  t.same(
    rules([
      [1, '100.92.0.2/32'],
      [1, '100.92.4.9/24'],
      [2, 0],
      [3, '10.7.9.9/24'],
      [4, 2],
      [
        5,
        [
          [
            2,
            [
              [1, 80],
              [2, 90],
            ],
          ],
        ],
      ],
      [10, 'r'],
    ]),
    [
      {
        action: 'accept',
        sources: ['100.92.0.2/32', '100.92.4.0/24'],
        destination: { kind: 'prefix', prefix: '10.7.9.0/24' },
        protocol: 'tcp',
        ports: { start: 80, end: 90 },
        routeId: 'r',
      },
    ],
  );
  t.match(
    rules([
      [1, '0.0.0.0/0'],
      [2, 1],
      [3, '192.0.2.0/32'],
      [4, 1],
      [5, [[1, 443]]],
      [6, 1],
      [7, '*.corp.test'],
    ]),
    [{ action: 'drop', protocol: 'all', ports: { start: 443, end: 443 }, destination: { kind: 'domains', domains: ['*.corp.test'] } }],
  );
  t.same(
    rules([
      [3, '10.7.0.0/16'],
      [4, 1],
    ]),
    [],
    'from nobody',
  );
  for (const [name, fields] of Object.entries<readonly Field[]>({
    protocol: [
      [1, '0.0.0.0/0'],
      [3, '10.7.0.0/16'],
      [4, 5],
    ],
    source: [
      [1, '0.0.0.0/0'],
      [1, 'x'],
      [3, '10.7.0.0/16'],
      [4, 1],
    ],
    destination: [
      [1, '0.0.0.0/0'],
      [3, 'x'],
      [4, 1],
    ],
    domain: [
      [1, '0.0.0.0/0'],
      [7, 'a.test'],
      [7, '*'],
      [4, 1],
    ],
    ports: [
      [1, '0.0.0.0/0'],
      [3, '10.7.0.0/16'],
      [4, 2],
      [
        5,
        [
          [
            2,
            [
              [1, 9],
              [2, 8],
            ],
          ],
        ],
      ],
    ],
  })) {
    t.same(rules(fields), [], `accept with a bad ${name}`);
    const wide = rules([[2, 1], ...fields]) as readonly { readonly action: string; readonly sources: readonly string[] }[];
    t.ok(wide.length > 0 && wide.every(({ action, sources }) => action === 'drop' && sources.includes('0.0.0.0/0')), `drop with a bad ${name}`);
  }
  t.same(mapOf([route, [11, 0]])?.routing?.rules, [], 'an empty list denies, whatever its flag says');
  const many = create(NetworkMapSchema, {
    Routes: [create(RouteSchema, { ID: 'r', Network: '10.0.0.0/8', Peer: self })],
    routesFirewallRules: Array.from({ length: 200_001 }, () =>
      create(RouteFirewallRuleSchema, { sourceRanges: ['0.0.0.0/0'], destination: '10.0.0.0/8', protocol: 1 }),
    ),
  });
  t.same(routingFrom(many, silentLogger)?.rules, [], 'too many');
});

void t.test('zones and nameserver groups, field by field', async (t) => {
  const dns: readonly Field[] = [
    [1, 1],
    [
      2,
      [
        [
          1,
          [
            [1, '10.7.0.53'],
            [2, 1],
            [3, 5353],
          ],
        ],
        [
          1,
          [
            [1, 'fd00::53'],
            [2, 1],
          ],
        ],
        [3, 'Corp.Test'],
        [4, 1],
      ],
    ],
    [
      2,
      [
        [
          1,
          [
            [1, '9.9.9.9'],
            [2, 1],
            [3, 53],
          ],
        ],
        [2, 1],
        [3, 'ignored.test'],
      ],
    ],
    [
      3,
      [
        [1, 'mesh.test.'],
        [
          2,
          [
            [1, 'B.mesh.test'],
            [2, 1],
            [3, 'IN'],
            [4, 300],
            [5, '100.92.0.2'],
          ],
        ],
        [
          2,
          [
            [1, 'b.mesh.test.'],
            [2, 28],
            [3, 'IN'],
            [4, 999_999_999],
            [5, 'FD00:0::2'],
          ],
        ],
        [
          2,
          [
            [1, '*.b.mesh.test'],
            [2, 5],
            [5, 'b.mesh.test.'],
          ],
        ],
        [
          2,
          [
            [1, '2.0.92.100.in-addr.arpa.'],
            [2, 12],
            [5, 'b.mesh.test'],
          ],
        ],
        [
          2,
          [
            [1, 'bad.mesh.test'],
            [2, 1],
            [5, 'fd00::2'],
          ],
        ],
        [
          2,
          [
            [1, 'bad.mesh.test'],
            [2, 15],
            [5, 'mail'],
          ],
        ],
        [
          2,
          [
            [1, 'bad.mesh.test'],
            [2, 1],
            [3, 'CH'],
            [5, '1.2.3.4'],
          ],
        ],
      ],
    ],
    [
      3,
      [
        [1, 'own.test.'],
        [3, 1],
        [4, 1],
      ],
    ],
    [3, [[1, 'no zone']]],
  ];
  const map = mapOf([[6, dns]]);
  const shown = plain({
    ...map?.dns,
    nameServerGroups: map?.dns?.nameServerGroups.map((group) => ({
      ...group,
      servers: group.servers.map(({ ip, port }) => `${Buffer.from(ip.bytes).toString('hex')} ${port}`),
    })),
  });
  t.same(shown, {
    zones: [
      {
        domain: 'mesh.test',
        records: [
          { name: 'b.mesh.test', type: 'A', data: '100.92.0.2', ttlSeconds: 300 },
          { name: 'b.mesh.test', type: 'AAAA', data: 'fd00::2', ttlSeconds: 86_400 },
          { name: '*.b.mesh.test', type: 'CNAME', data: 'b.mesh.test', ttlSeconds: 0 },
          { name: '2.0.92.100.in-addr.arpa', type: 'PTR', data: 'b.mesh.test', ttlSeconds: 0 },
        ],
        authoritative: true,
        searchDisabled: false,
      },
      { domain: 'own.test', records: [], authoritative: false, searchDisabled: true },
    ],
    nameServerGroups: [
      { servers: ['0a070035 5353', 'fd000000000000000000000000000053 53'], primary: false, domains: ['corp.test'], searchDomains: true },
      { servers: ['09090909 53'], primary: true, domains: [], searchDomains: false },
    ],
  });
  t.equal(
    mapOf([
      [
        6,
        [
          [1, 0],
          [3, [[1, 'mesh.test']]],
        ],
      ],
    ])?.dns,
    undefined,
    'the service is off',
  );
  t.match(
    mapOf([
      [
        6,
        [
          [1, 1],
          [
            3,
            [
              [1, 'own.test.'],
              [4, 1],
            ],
          ],
        ],
      ],
    ])?.dns,
    { zones: [{ authoritative: true }] },
    'a zone that is alone',
  );
  const bad = create(DNSConfigSchema, {
    ServiceEnable: true,
    NameServerGroups: [
      { NameServers: [{ IP: 'x', NSType: 1n, Port: 53n }], Primary: true },
      { NameServers: [{ IP: '1.1.1.1', NSType: 2n, Port: 53n }], Primary: true },
      { NameServers: [{ IP: '1.1.1.1', NSType: 1n, Port: 70_000n }], Primary: true },
      { NameServers: [{ IP: '1.1.1.1', NSType: 1n, Port: 53n }] },
      { NameServers: [{ IP: '1.1.1.1', NSType: 1n, Port: 53n }], Domains: ['a b'] },
    ],
  });
  t.same(dnsFrom(bad, silentLogger), { zones: [], nameServerGroups: [] });
});

void t.test('port forwarding is refused aloud', async (t) => {
  const lines: string[] = [];
  const log: Logger = { ...silentLogger, warn: (text) => void lines.push(text) };
  const map = mapOf(
    [
      [
        12,
        [
          [1, 2],
          [2, [[1, 8080]]],
          [3, Uint8Array.of(10, 0, 0, 1)],
          [4, [[1, 80]]],
        ],
      ],
    ],
    log,
  );
  t.not(map, undefined, 'the map is used all the same');
  t.match(lines, [/port forwarding/]);
});

void t.test('firewall rules: both spellings, both directions, ranges', async (t) => {
  const rules = (...all: readonly (readonly Field[])[]): unknown => plain(mapOf(all.map((rule): Field => [8, rule]))?.filter);
  const base = { direction: 'in', action: 'accept', protocol: 'tcp' };
  t.same(
    rules([
      [1, '100.92.0.2'],
      [2, 0],
      [3, 0],
      [4, 2],
      [5, '22'],
    ]),
    {
      kind: 'rules',
      rules: [{ ...base, peer: '100.92.0.2/32', ports: { start: 22, end: 22 } }],
    },
  );
  t.same(
    rules([
      [1, '9.9.9.9'],
      [2, 1],
      [3, 1],
      [4, 3],
      [5, '1'],
      [
        6,
        [
          [
            2,
            [
              [1, 1000],
              [2, 2000],
            ],
          ],
        ],
      ],
      [9, Uint8Array.of(100, 92, 0, 3, 32)],
    ]),
    {
      kind: 'rules',
      rules: [{ direction: 'out', action: 'drop', protocol: 'udp', peer: '100.92.0.3/32', ports: { start: 1000, end: 2000 } }],
    },
  );
  t.same(
    rules([
      [1, '0.0.0.0'],
      [4, 4],
    ]),
    { kind: 'rules', rules: [{ ...base, protocol: 'icmp' }] },
  );
  t.same(
    rules([
      [4, 1],
      [9, new Uint8Array(17)],
    ]),
    { kind: 'rules', rules: [{ ...base, protocol: 'all', peer: '::/0' }] },
  );
  for (const protocol of [0, 5, 6]) {
    t.same(
      rules([
        [1, '100.92.0.2'],
        [4, protocol],
      ]),
      { kind: 'rules', rules: [] },
      `protocol ${protocol} accepted`,
    );
    t.same(
      rules([
        [1, '100.92.0.2'],
        [3, 1],
        [4, protocol],
      ]),
      {
        kind: 'rules',
        rules: [{ ...base, action: 'drop', protocol: 'all', peer: '100.92.0.2/32' }],
      },
    );
  }
  t.same(mapOf([])?.filter, { kind: 'open' });
  t.same(mapOf([[9, 1]])?.filter, { kind: 'rules', rules: [] });
});
