// A peer of the mesh: the control plane's client and the overlay put together. It keeps trying until it is closed; why it is not
// there yet is always in its state.
import { createPeerControl } from '#control/index.ts';
import type { ControlAddress, ExposeControl, PeerControl } from '#control/types.ts';
import { Backoff, sleep } from '#lib/backoff.ts';
import type { Clock } from '#lib/clock.ts';
import { describeError, MeshgateError } from '#lib/errors.ts';
import { formatIp } from '#lib/ip.ts';
import { type Closable, Scope, startScoped } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { TlsGrant } from '#model/tls-grant.ts';
import type { PublicKey } from '#model/ids.ts';
import { closedFilter, type MeshEndpoints, type NetworkMap, type PacketFilter } from '#model/network-map.ts';
import type { PeerMeta } from '#model/network.ts';
import type { MeshStatus } from '#model/status.ts';
import { createOverlay, type Overlay, type OverlayDeps, type OverlayOptions } from '#overlay/index.ts';
import { refusedRetryMs, signInRetry } from './constants.ts';
import { meshError } from './errors.ts';
import { loadIdentity, type MeshIdentity } from './identity-store.ts';
import { PathReporter } from './path-reporter.ts';
import { endpointsFormat, type SavedEndpoints } from './saved-endpoints.ts';
import { SavedFile } from './saved-file.ts';
import { mapFormat, type SavedMesh } from './saved-map.ts';
import { type MeshState, type StateHandler, StateHolder } from './state.ts';

export interface MeshNodeOptions {
  readonly control: ControlAddress;
  /** Holds identity.json, last-map.json and last-endpoints.json; made where it is missing. */
  readonly stateFolder: string;
  readonly meta: PeerMeta;
  /** Undefined for a peer that is registered already, such as a gateway's. */
  readonly setupKey: string | undefined;
  /** The overlay's own options. */
  readonly overlay: Omit<OverlayOptions, 'privateKey' | 'version' | 'ca'>;
}

export interface MeshDeps {
  readonly log: Logger;
  readonly clock: Clock;
  /** How the overlay is made; for tests. */
  readonly createOverlay?: (deps: OverlayDeps, options: OverlayOptions) => Promise<Overlay>;
}

export interface MeshNode extends Closable {
  readonly overlay: Overlay;
  readonly publicKey: PublicKey;
  /** The services that this peer publishes by itself. */
  readonly exposures: ExposeControl;
  /** What an agent needs at which TLS of services ends. `current` is the token in use, empty for none. */
  tlsGrant(current: string, signal: AbortSignal): Promise<TlsGrant>;
  /**
   * Signs in and waits for the first map. Rejects with MESH_REFUSED, with MESH_START_TIMEOUT where the signal aborts first, with
   * MESH_CLOSED; after the first two the node goes on trying until it is closed.
   */
  start(signal: AbortSignal): Promise<void>;
  state(): MeshState;
  /** Calls back at each change of the state; returns how to stop. */
  onState(handler: StateHandler): () => void;
  /** Calls back with what the policies admit to this peer, now and at each change; returns how to stop. */
  onFilter(handler: (filter: PacketFilter) => void): () => void;
  /** Somebody has acted on a refusal: signs in again now instead of after the pause. */
  retry(): void;
  status(): MeshStatus;
  /** Removes this peer at the control plane; close the node afterwards. */
  logout(signal: AbortSignal): Promise<void>;
}

/** Loads or makes the identity and opens the overlay's port. Rejects with MESH_IDENTITY_DAMAGED and the errors of control/ and overlay/. */
export function createMeshNode(options: MeshNodeOptions, deps: MeshDeps): Promise<MeshNode> {
  return startScoped(async (scope) => {
    const { control: address, meta, setupKey } = options;
    const identity = await loadIdentity(options.stateFolder, deps.log);
    const store = new SavedFile(mapFormat, options.stateFolder, deps.clock, deps.log);
    scope.defer(() => store.close());
    const endpoints = new SavedFile(endpointsFormat, options.stateFolder, deps.clock, deps.log);
    const known = await endpoints.load();
    const control = createPeerControl({ address, privateKey: identity.privateKey, meta, setupKey }, { log: deps.log, clock: deps.clock });
    scope.defer(() => control.close());
    const signal = {
      send: control.sendSignal.bind(control),
      receive: control.onSignal.bind(control),
      onConnected: control.onSignalConnected.bind(control),
      connected: () => control.status().some(({ name, connected }) => name === 'signal' && connected),
      networkChanged: control.networkChanged.bind(control),
    };
    const listenPort = options.overlay.listenPort === 0 ? (known?.port ?? 0) : options.overlay.listenPort;
    const overlayOptions = { ...options.overlay, listenPort, privateKey: identity.privateKey, version: meta.version, ca: address.ca };
    const make = deps.createOverlay ?? createOverlay;
    const reporter: PathReporter = new PathReporter({
      peers: () => overlay.status().peers,
      send: control.reportPaths.bind(control),
      clock: deps.clock,
      log: deps.log,
      random: Math.random,
    });
    const saved = (): SavedEndpoints => ({ port: overlay.status().figures.port, peers: overlay.lastEndpoints() });
    const overlay = await make(
      { signal, log: deps.log, clock: deps.clock, pathSwitched: () => reporter.changed(), located: () => endpoints.save(saved) },
      overlayOptions,
    );
    scope.defer(() => overlay.close());
    scope.defer(() => endpoints.close());
    scope.defer(() => reporter.close());
    overlay.setLastEndpoints(known?.peers ?? []);
    return new RunningMeshNode(identity, control, overlay, reporter, { map: store, endpoints }, scope, deps.log);
  });
}

/** What a restart finds on disk. */
interface Saved {
  readonly map: SavedFile<SavedMesh>;
  readonly endpoints: SavedFile<SavedEndpoints>;
}

class RunningMeshNode implements MeshNode {
  readonly overlay: Overlay;
  readonly publicKey: PublicKey;
  readonly exposures: ExposeControl;
  readonly #control: PeerControl;
  readonly #reporter: PathReporter;
  readonly #saved: Saved;
  readonly #scope: Scope;
  readonly #log: Logger;
  readonly #state = new StateHolder();
  readonly #closing = new AbortController();
  readonly #filterHandlers = new Set<(filter: PacketFilter) => void>();
  #filter: PacketFilter = closedFilter;
  #map: NetworkMap | undefined;
  #endpoints: MeshEndpoints | undefined;
  #signingIn: Promise<void> | undefined;
  /** Aborted to end a pause early. */
  #wake = new AbortController();

  constructor(identity: MeshIdentity, control: PeerControl, overlay: Overlay, reporter: PathReporter, saved: Saved, scope: Scope, log: Logger) {
    this.publicKey = identity.publicKey;
    this.overlay = overlay;
    this.#control = control;
    this.exposures = control;
    this.#reporter = reporter;
    this.#saved = saved;
    this.#scope = scope;
    this.#log = log;
  }

  async start(signal: AbortSignal): Promise<void> {
    const settled = Promise.withResolvers<void>();
    const look = (state: MeshState): void => {
      if (state.kind === 'running') settled.resolve();
      else if (state.kind === 'refused') settled.reject(meshError('MESH_REFUSED', state.reason));
      else if (state.kind === 'closed') settled.reject(meshError('MESH_CLOSED'));
    };
    const late = (): void => settled.reject(meshError('MESH_START_TIMEOUT', this.#reason()));
    const stop = this.#state.on(look);
    signal.addEventListener('abort', late, { once: true });
    look(this.#state.current);
    if (signal.aborted) late();
    this.#signingIn ??= this.#signIn();
    try {
      await settled.promise;
    } finally {
      stop();
      signal.removeEventListener('abort', late);
    }
  }

  state(): MeshState {
    return this.#state.current;
  }

  onState(handler: StateHandler): () => void {
    return this.#state.on(handler);
  }

  tlsGrant(current: string, signal: AbortSignal): Promise<TlsGrant> {
    return this.#control.tlsGrant(current, signal);
  }

  retry(): void {
    this.#wake.abort();
    this.#wake = new AbortController();
  }

  status(): MeshStatus {
    const { relay, peers, routes, figures } = this.overlay.status();
    return {
      publicKey: this.publicKey,
      address: this.#map === undefined ? undefined : formatIp(this.#map.self.v4.address),
      fqdn: this.#map?.self.fqdn,
      serial: String(this.#map?.serial ?? 0n),
      links: [...this.#control.status(), relay],
      peers,
      routes,
      overlay: figures,
      pathReports: this.#reporter.status(),
    };
  }

  logout(signal: AbortSignal): Promise<void> {
    this.#forget();
    return this.#control.logout(signal);
  }

  async close(): Promise<void> {
    this.#state.set({ kind: 'closed' });
    this.#closing.abort();
    await Promise.all([this.#scope.close(), this.#signingIn]);
  }

  /** Until it is signed in, or serves from disk; from then on the control client reconnects by itself. Never rejects. */
  async #signIn(): Promise<void> {
    const { signal } = this.#closing;
    const backoff = new Backoff({ ...signInRetry, random: Math.random });
    this.#state.set({ kind: 'signing-in', reason: '' });
    while (!signal.aborted) {
      let pauseMs = backoff.next();
      try {
        const outcome = await this.#control.login(signal);
        if (outcome.kind === 'signed-in') return this.#connect(outcome.endpoints);
        this.#refused(outcome.reason);
        pauseMs = refusedRetryMs;
      } catch (error) {
        if (signal.aborted) return;
        this.#log.warn('sign-in failed', { reason: describeError(error) });
        if (await this.#serveFromDisk()) return;
        this.#state.set({ kind: 'signing-in', reason: publicText(error) });
      }
      await sleep(pauseMs, AbortSignal.any([signal, this.#wake.signal]));
    }
  }

  /** The control plane is away: what it said last still holds. The sync stream learns what is new once it is back. */
  async #serveFromDisk(): Promise<boolean> {
    const saved = await this.#saved.map.load();
    if (saved === undefined || this.#closing.signal.aborted) return false;
    this.#log.warn('the control plane is away: serving the last network map', { serial: String(saved.map.serial) });
    this.#map = saved.map;
    this.#put(saved.map);
    this.#connect(saved.endpoints);
    this.#state.set({ kind: 'running', self: saved.map.self, from: 'disk' });
    return true;
  }

  #connect(endpoints: MeshEndpoints): void {
    this.#setEndpoints(endpoints);
    this.#control.start(endpoints, {
      map: (map) => this.#apply(map),
      endpoints: (newer) => this.#setEndpoints(newer),
      refused: (reason) => this.#refused(reason),
    });
  }

  #setEndpoints(endpoints: MeshEndpoints): void {
    this.#endpoints = endpoints;
    this.overlay.setEndpoints(endpoints);
    if (this.#map !== undefined) this.#save(this.#map, endpoints);
  }

  #apply(map: NetworkMap): void {
    if (this.#closing.signal.aborted) return;
    this.#map = map;
    this.#put(map);
    if (this.#endpoints !== undefined) this.#save(map, this.#endpoints);
    this.#reporter.changed();
    this.#state.set({ kind: 'running', self: map.self, from: 'control' });
  }

  onFilter(handler: (filter: PacketFilter) => void): () => void {
    this.#filterHandlers.add(handler);
    handler(this.#filter);
    return () => this.#filterHandlers.delete(handler);
  }

  #put(map: NetworkMap): void {
    this.overlay.apply(map);
    this.#filter = map.filter;
    for (const handler of this.#filterHandlers) handler(map.filter);
  }

  /** Trust has ended: no peer, nothing admitted, and no map to come back to after a restart. */
  #refused(reason: string): void {
    if (this.#closing.signal.aborted) return;
    this.#log.warn('the control plane refuses this peer', { reason });
    if (this.#map !== undefined) this.#put(emptied(this.#map));
    this.#forget();
    this.#state.set({ kind: 'refused', reason });
  }

  #save(map: NetworkMap, endpoints: MeshEndpoints): void {
    this.#saved.map.save(() => ({ map, endpoints }));
  }

  #forget(): void {
    this.#saved.map.forget();
    this.#saved.endpoints.forget();
  }

  #reason(): string {
    const state = this.#state.current;
    return state.kind === 'signing-in' ? state.reason : state.kind;
  }
}

/** The same place in the network, with nobody in it and nothing permitted. */
function emptied({ serial, self, lazy }: NetworkMap): NetworkMap {
  return { serial, self, lazy, peers: [], filter: closedFilter };
}

function publicText(error: unknown): string {
  if (!(error instanceof MeshgateError)) return 'failed';
  return error.detail === '' ? error.message : `${error.message} (${error.detail})`;
}
