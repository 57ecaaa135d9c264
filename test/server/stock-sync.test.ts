// Changes of networks, routes and names on their way to a stock client's open Sync stream, over real gRPC: what is made arrives, and what is
// deleted goes.
import t from 'tap';
import { LoginRequestSchema, LoginResponseSchema, ManagementService, type NetworkMap } from '#wire/proto/gen/management_pb.ts';
import { startPlane, type Json } from './stock-plane.ts';

const meta = (hostname: string) => ({ hostname, goOS: 'linux', netbirdVersion: '0.70.0' });

void t.test('what is planned reaches the peers that it concerns, and leaves them again', async (t) => {
  const plane = await startPlane(t);
  const join = async (hostname: string) => {
    const { key } = await plane.call('POST', '/setup-keys', { name: hostname, type: 'one-off', expires_in: 86_400, auto_groups: [] });
    const client = await plane.client();
    const request = { meta: meta(hostname), setupKey: String(key).toLowerCase() };
    await client.call(ManagementService.method.login, LoginRequestSchema, request, LoginResponseSchema);
    const peers = (await plane.call('GET', `/peers?name=${hostname}`)) as unknown as readonly Json[];
    const group = await plane.call('POST', '/groups', { name: `g-${hostname}`, peers: [peers[0]?.['id']] });
    const stream = await client.sync(meta(hostname));
    t.teardown(() => stream.cancel());
    /** Reads maps until one fits: changes that come together may be told together or one by one. */
    const until = async (what: string, fits: (map: NetworkMap) => boolean): Promise<NetworkMap> => {
      for (;;) {
        const { NetworkMap: map } = await stream.next();
        if (map !== undefined && fits(map)) return map;
        t.comment(`${hostname} waits: ${what}`);
      }
    };
    return { key: client.key, id: String(peers[0]?.['id']), group: String(group['id']), until };
  };
  const [client, router] = [await join('client'), await join('router')];
  const network = `/networks/${String((await plane.call('POST', '/networks', { name: 'office' }))['id'])}`;
  const resource = await plane.call('POST', `${network}/resources`, { name: 'lan', address: '10.0.0.0/24', enabled: true, groups: [] });
  await plane.call('POST', `${network}/routers`, { peer: router.id, metric: 100, masquerade: true, enabled: true });
  const rule = { name: 'r', enabled: true, action: 'accept', bidirectional: false, protocol: 'tcp', ports: ['22'], sources: [client.group] };
  const policy = await plane.call('POST', '/policies', {
    name: 'to the office',
    enabled: true,
    rules: [{ ...rule, destinationResource: { type: 'subnet', id: resource['id'] } }],
  });
  const led = await client.until('a route', ({ Routes }) => Routes.length === 1);
  t.match(led, { Routes: [{ Network: '10.0.0.0/24', Peer: router.key }], remotePeers: [{ wgPubKey: router.key }] });
  const leading = await router.until('its rule', ({ routesFirewallRules }) => routesFirewallRules.length === 1);
  t.match(leading, { Routes: [{ Peer: router.key }], remotePeers: [{ wgPubKey: client.key }] });

  const zone = { name: 'lab', domain: 'lab.test', enable_search_domain: false, distribution_groups: [client.group] };
  const { id: zoneId } = await plane.call('POST', '/dns/zones', zone);
  await plane.call('POST', `/dns/zones/${String(zoneId)}/records`, { name: 'lab.test', type: 'A', content: '10.0.0.1', ttl: 60 });
  await client.until('the zone', ({ DNSConfig }) => DNSConfig?.CustomZones.some(({ Domain }) => Domain === 'lab.test.') === true);
  await plane.call('DELETE', `/dns/zones/${String(zoneId)}`);
  await client.until('no zone', ({ DNSConfig }) => DNSConfig?.CustomZones.length === 1);

  await plane.call('DELETE', `/policies/${String(policy['id'])}`);
  const without = await client.until('no route', ({ Routes }) => Routes.length === 0);
  t.same([without.remotePeersIsEmpty, without.remotePeers.length], [true, 0]);
  const idle = await router.until('no rule', ({ routesFirewallRules }) => routesFirewallRules.length === 0);
  t.same([idle.routesFirewallRulesIsEmpty, idle.Routes.length, idle.remotePeersIsEmpty], [true, 0, true]);
  await plane.call('DELETE', network);
});
