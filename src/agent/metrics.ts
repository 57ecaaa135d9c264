// What an agent exposes: its place in the mesh, and what it forwards.
import type { Clock } from '#lib/clock.ts';
import type { MeshNode } from '#mesh/index.ts';
import { counter, type Family, gauge, meshFamilies, single } from '#metrics/index.ts';
import type { Forwarder } from './forward.ts';

export function agentFamilies(node: Pick<MeshNode, 'state' | 'status'>, forwarder: Pick<Forwarder, 'figures'>, clock: Clock): readonly Family[] {
  return [
    gauge(
      'meshgate_forwarded_connections',
      'Connections that are forwarded to targets now.',
      single(() => forwarder.figures.open),
    ),
    counter(
      'meshgate_forwarded_connections_total',
      'Connections that were forwarded, or meant to be.',
      single(() => forwarder.figures.total),
    ),
    counter(
      'meshgate_forward_failures_total',
      'Connections that failed: the target did not take them, or they broke off.',
      single(() => forwarder.figures.failed),
    ),
    ...meshFamilies(() => ({ mesh: node.status(), joined: node.state().kind === 'running', links: [], wallMs: clock.wall() })),
  ];
}
