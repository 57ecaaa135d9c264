// Every public socket of the gateway but that for plain HTTP: the one of HTTPS, and those of services with ports of their own. What comes in by
// TCP passes the door for load balancers first; then a TLS service may claim it by its name, and the rest is HTTPS's.
import type { Socket } from 'node:net';
import type { Clock } from '#lib/clock.ts';
import type { IpPrefix } from '#lib/ip.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { DialTarget, Endpoint, Ends } from '#lib/net.ts';
import type { OpenDatagramPortAt } from '#mesh/index.ts';
import type { HttpPublisher, StreamPublisher, StreamTable } from '#publish/index.ts';
import { portHolder } from './port-holder.ts';
import type { ProxyDoor } from './proxy-door.ts';
import { StreamPorts } from './stream-ports.ts';
import { listenTcp } from './tcp.ts';
import { createUdpProxyDoor } from './udp-proxy-door.ts';
import { listenUdp } from './udp.ts';

export interface PublicSocketsDeps {
  /** Where HTTPS listens; services' own ports are opened at the same address. */
  readonly at: DialTarget;
  /** Load balancers say there whose a connection is. */
  readonly door: ProxyDoor;
  /** The same load balancers, for UDP. */
  readonly loadBalancers: readonly IpPrefix[];
  readonly http: Pick<HttpPublisher, 'handleConnection'>;
  readonly streams: Pick<StreamPublisher, 'handleConnection' | 'handleDatagrams'>;
  /** How a UDP port is opened. */
  readonly openUdp: OpenDatagramPortAt;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface PublicSockets extends Closable {
  /** Of HTTPS. */
  readonly port: number;
  /** Opens the ports that the table names and closes the others. */
  open(table: StreamTable): void;
  /** Why a service's own port is not open; empty where it is. */
  problem(protocol: 'tcp' | 'udp', port: number): string;
}

/** Opens HTTPS's socket. `close` stops accepting everywhere at once and resolves when the last connection is gone. GATEWAY_PORT_* errors. */
export async function openPublicSockets(deps: PublicSocketsDeps): Promise<PublicSockets> {
  const { at, http, streams, clock, log, door } = deps;
  const admit = (socket: Socket, from: Endpoint, port: number, enter: (ends: Ends) => void): void =>
    door.admit(socket, { remote: from, local: { address: socket.localAddress ?? '', port } }, enter);

  const udpDoor = createUdpProxyDoor(deps.loadBalancers, (from, reason) =>
    log.debug('a datagram of a load balancer was dropped', { remote: from.address, reason }),
  );

  const https = await listenTcp(at, (socket, from) =>
    admit(socket, from, https.port, (ends) =>
      streams.handleConnection(socket, ends, https.port, (hello) => http.handleConnection(socket, { ...ends, hello })),
    ),
  );
  const tcp = new StreamPorts({
    protocol: 'tcp',
    except: https.port,
    holder: (port) => portHolder('tcp', port),
    listen: (port) =>
      listenTcp({ host: at.host, port }, (socket, from) => admit(socket, from, port, (ends) => streams.handleConnection(socket, ends, port))),
    clock,
    log,
  });
  const udp = new StreamPorts({
    protocol: 'udp',
    except: undefined,
    holder: (port) => portHolder('udp', port),
    listen: (port) =>
      listenUdp({ host: at.host, port }, { open: deps.openUdp, log }, (run, size, from, reply) =>
        udpDoor.admit(run, size, from, (bytes, length, client) =>
          streams.handleDatagrams(bytes, length, client, port, client === from ? reply : (answer, each) => reply(answer, each, from), from),
        ),
      ),
    clock,
    log,
  });
  return {
    port: https.port,
    open: (table) => {
      void tcp.apply(table.ports.keys());
      void udp.apply(table.udp.keys());
    },
    problem: (protocol, port) => (protocol === 'udp' ? udp : tcp).problem(port),
    close: async () => {
      const closed = [https.close(), tcp.close(), udp.close()];
      await door.close();
      await Promise.all(closed);
    },
  };
}
