// An overlay that only remembers what it was told.
import type { MeshEndpoints, NetworkMap } from '#model/network-map.ts';
import type { LastEndpoint, Overlay } from '#overlay/index.ts';

export class FakeOverlay implements Overlay {
  readonly maps: NetworkMap[] = [];
  readonly endpoints: MeshEndpoints[] = [];
  closed = false;
  /** What it was told of an earlier run. */
  lastKnown: readonly LastEndpoint[] = [];
  /** What it tells for a later one. */
  located: readonly LastEndpoint[] = [];
  port = 0;

  dial(): Promise<never> {
    return Promise.reject(Object.assign(new Error('no path'), { code: 'EHOSTUNREACH' }));
  }
  resolve(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }
  accept(): void {
    // nothing comes in
  }
  bindUdp(): Promise<never> {
    return Promise.reject(new TypeError('no UDP here'));
  }

  carry(): void {
    // and nothing passes
  }
  apply(map: NetworkMap): void {
    this.maps.push(map);
  }
  setEndpoints(endpoints: MeshEndpoints): void {
    this.endpoints.push(endpoints);
  }
  setLastEndpoints(endpoints: readonly LastEndpoint[]): void {
    this.lastKnown = endpoints;
  }
  lastEndpoints(): readonly LastEndpoint[] {
    return this.located;
  }
  refresh(): void {
    // nothing to look for
  }
  status(): ReturnType<Overlay['status']> {
    return {
      relay: { name: 'relay', connected: false, address: '', reason: 'none', since: '' },
      peers: [],
      routes: [],
      figures: {
        mode: 'userspace',
        port: this.port,
        accelerators: { udp: 'dgram (a test)', cipher: 'none' },
        peers: { direct: 0, relay: 0, seeking: 0, idle: 0 },
        pathSwitches: 0,
        networkChanges: 0,
        lastNetworkChange: undefined,
        foreignRelays: [],
        relayDroppedPackets: 0,
      },
    };
  }
  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }
}
