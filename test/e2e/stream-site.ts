// The product in processes of its own, for suites that use streams through all of it.
import type { Test } from 'tap';
import {
  call,
  cluster,
  findPeer,
  type Json,
  makeGroup,
  makeSetupKey,
  type Part,
  type Plane,
  startAgentPart,
  startGatewayPart,
  startPlane,
  until,
} from '../support/parts.ts';

export interface Site {
  readonly plane: Plane;
  readonly gateway: Part & { readonly publicPort: number };
  readonly peer: string;
}

/** A control plane, a gateway, and the agent `office` beside the targets, which are on loopback. */
export async function startSite(t: Test, prepare: (plane: Plane) => Promise<void> = () => Promise.resolve()): Promise<Site> {
  const plane = await startPlane(t);
  await prepare(plane);
  const gateway = await startGatewayPart(t, plane);
  await until('the gateway is known', async () => ((await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[]).length > 0);
  const key = await makeSetupKey(plane, [await makeGroup(plane, 'office')]);
  await startAgentPart(t, plane, 'office', key, {});
  await until('the agent has joined', async () => ((await plane.api.call('GET', '/api/peers?name=office')) as readonly Json[]).length > 0);
  return { plane, gateway, peer: String((await findPeer(plane, 'office'))['id']) };
}

/** A request for a service that leads to a port of the agent's machine. */
export function body(site: Site, name: string, mode: 'tcp' | 'tls' | 'udp', port: number, listenPort: number, change: Json = {}): Json {
  const target = { target_id: site.peer, target_type: 'peer', protocol: mode === 'udp' ? 'udp' : 'tcp', port, enabled: true };
  return { name, domain: `${name}.${cluster}`, mode, listen_port: listenPort, enabled: true, targets: [target], ...change };
}

/** Makes it and waits for its state; its id. */
export async function publish(site: Site, request: Json, state = 'active'): Promise<string> {
  const id = String((await call(site.plane, 'POST', '/api/reverse-proxies/services', request))['id']);
  await until(`${String(request['name'])} is ${state}`, async () => (await meta(site, id))['status'] === state, 30_000);
  return id;
}

export async function meta(site: Site, id: string): Promise<Json> {
  return (await call(site.plane, 'GET', `/api/reverse-proxies/services/${id}`))['meta'] as Json;
}
