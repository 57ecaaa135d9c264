// A peer for as long as something is exposed, on a machine where no agent runs: it joins, publishes one thing, and leaves the network.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '#lib/clock.ts';
import { hostDial } from '#lib/host-dial.ts';
import { openHostUdp } from '#lib/host-udp.ts';
import { startScoped, type Closable } from '#lib/lifecycle.ts';
import { silentLogger } from '#lib/log.ts';
import { parseOrThrow } from '#lib/schema.ts';
import { createMeshNode, hostMeta, type ControlAddress } from '#mesh/index.ts';
import { exposeCallMs } from './constants.ts';
import { eventOf, type ExposeEvent } from './expose-api.ts';
import { Exposures } from './exposures.ts';
import { Forwarder } from './forward.ts';
import { UdpForwarder } from './udp-forward.ts';
import { wishSchema } from './wish.ts';

export interface StandaloneOptions {
  readonly control: ControlAddress;
  readonly setupKey: string;
  readonly hostname: string | undefined;
  /** As the command line asks for it. */
  readonly wish: unknown;
  /** Called with each state of the service. */
  readonly told: (event: ExposeEvent) => void;
}

/** Joins the network and publishes. Rejects with LIB_INPUT_INVALID, MESH_REFUSED, MESH_START_TIMEOUT where the signal aborts first. */
export function exposeStandalone(options: StandaloneOptions, signal: AbortSignal): Promise<Closable> {
  return startScoped(async (scope) => {
    const wish = parseOrThrow(wishSchema, options.wish);
    const stateFolder = await mkdtemp(join(tmpdir(), 'meshgate-expose-'));
    scope.defer(() => rm(stateFolder, { recursive: true, force: true }));
    const { control, setupKey, hostname } = options;
    const node = await createMeshNode(
      { control, stateFolder, meta: hostMeta(hostname), setupKey, overlay: { listenPort: 0 } },
      { log: silentLogger, clock: systemClock },
    );
    scope.use(node);
    // Nothing but what is exposed: no target of a configuration, no host for other ports.
    const forwarder = new Forwarder(new Map(), undefined, { dial: hostDial, log: silentLogger });
    scope.defer(() => forwarder.close());
    node.overlay.accept(
      (port) => forwarder.wants(port),
      (connection, way) => void forwarder.handle(connection, way),
      forwarder.open,
    );
    const targetOf = forwarder.targetOf.bind(forwarder);
    const udp = new UdpForwarder({ overlay: node.overlay, open: openHostUdp, targetOf, clock: systemClock, log: silentLogger, random: Math.random });
    scope.defer(() => udp.close());
    scope.defer(node.onFilter((filter) => void udp.apply(filter)));
    await node.start(signal);
    scope.defer(() => node.logout(AbortSignal.timeout(exposeCallMs)).catch(() => undefined));
    const exposures = new Exposures({
      control: node.exposures,
      forwarder,
      udpLed: (port) => udp.led(port),
      stateDir: undefined,
      clock: systemClock,
      random: Math.random,
      log: silentLogger,
    });
    scope.use(exposures);
    const exposure = exposures.open({ ...wish, patient: false }, 'terminal');
    exposure.onState((state) => options.told(eventOf(state)));
    return { close: () => scope.close() };
  });
}
