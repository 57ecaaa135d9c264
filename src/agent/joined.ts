// Whoever is not in the network yet has nothing to ask: calls about exposed services wait until the peer has joined.
import type { ExposeControl, MeshNode, MeshState } from '#mesh/index.ts';
import type { ExposeAnswer } from '#model/exposure.ts';
import { agentError } from './errors.ts';

type Node = Pick<MeshNode, 'state' | 'onState' | 'exposures'>;

export function exposeWhenJoined(node: Node): ExposeControl {
  const within = async (signal: AbortSignal, call: () => Promise<ExposeAnswer>): Promise<ExposeAnswer> => {
    const state = await settled(node, signal);
    return state.kind === 'refused' ? { kind: 'refused', reason: state.reason } : await call();
  };
  return {
    expose: (request, signal) => within(signal, () => node.exposures.expose(request, signal)),
    renewExposure: (id, signal) => within(signal, () => node.exposures.renewExposure(id, signal)),
    stopExposure: (id, signal) => node.exposures.stopExposure(id, signal),
  };
}

/** The state when it says yes or no. AGENT_NOT_JOINED where the signal aborts first or the node is closed. */
function settled(node: Node, signal: AbortSignal): Promise<MeshState> {
  return new Promise((resolve, reject) => {
    const look = (state: MeshState): void => {
      if (state.kind === 'running' || state.kind === 'refused') done(() => resolve(state));
      else if (state.kind === 'closed') late();
      else if (state.kind === 'signing-in') reason = state.reason;
    };
    const late = (): void => done(() => reject(agentError('AGENT_NOT_JOINED', reason)));
    let reason = '';
    const stop = node.onState(look);
    const done = (settle: () => void): void => {
      stop();
      signal.removeEventListener('abort', late);
      settle();
    };
    signal.addEventListener('abort', late, { once: true });
    if (signal.aborted) late();
    else look(node.state());
  });
}
