// A plane, a gateway and an agent for tests of TCP, TLS and UDP services through the whole product.
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
} from './parts.ts';

export interface StreamSite {
  readonly plane: Plane;
  readonly gateway: Part & { readonly publicPort: number };
  readonly peer: string;
}

export async function startStreamSite(t: Test, gatewayConfig: Json = {}): Promise<StreamSite> {
  const plane = await startPlane(t);
  const gateway = await startGatewayPart(t, plane, gatewayConfig);
  await until('the gateway is known', async () => ((await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[]).length > 0);
  const key = await makeSetupKey(plane, [await makeGroup(plane, 'office')]);
  await startAgentPart(t, plane, 'office', key, {});
  await until('the agent has joined', async () => ((await plane.api.call('GET', '/api/peers?name=office')) as readonly Json[]).length > 0);
  return { plane, gateway, peer: String((await findPeer(plane, 'office'))['id']) };
}

export interface StreamBody {
  readonly mode: 'tcp' | 'tls' | 'udp';
  readonly ports: readonly number[];
  readonly listenPort?: number;
  readonly protocol?: 'tcp' | 'tls' | 'udp';
  readonly options?: Json;
  readonly change?: Json;
}

/** A service at the site's peer, at each of the ports, for everybody. */
export function streamBody(site: StreamSite, name: string, { mode, ports, listenPort = 0, protocol, options, change }: StreamBody): Json {
  return {
    name,
    domain: `${name}.${cluster}`,
    mode,
    listen_port: listenPort,
    enabled: true,
    auth: {},
    targets: ports.map((port) => ({
      target_id: site.peer,
      target_type: 'peer',
      protocol: protocol ?? (mode === 'udp' ? 'udp' : 'tcp'),
      port,
      enabled: true,
      ...(options === undefined ? {} : { options }),
    })),
    ...change,
  };
}

/** Publishes it and waits for its state; returns its id. */
export async function publishStream(site: StreamSite, request: Json, state = 'active'): Promise<string> {
  const id = String((await call(site.plane, 'POST', '/api/reverse-proxies/services', request))['id']);
  let told = '';
  await until(
    `${String(request['name'])} is ${state}`,
    async () => {
      const meta = await metaOf(site, id);
      told = JSON.stringify(meta);
      return meta['status'] === state;
    },
    30_000,
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}, but ${told}`);
  });
  return id;
}

export async function metaOf(site: StreamSite, id: string): Promise<Json> {
  return (await call(site.plane, 'GET', `/api/reverse-proxies/services/${id}`))['meta'] as Json;
}
