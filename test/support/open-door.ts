// A gateway's door with no load balancer before it.
import type { ProxyDoor } from '../../src/gateway/listen/proxy-door.ts';

export const openDoor: Pick<ProxyDoor, 'admit'> = { admit: (_socket, ends, enter) => enter(ends) };
