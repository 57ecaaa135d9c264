// Where a mesh node is on its way, as one value that always says why.
import type { SelfAddress } from '#model/network-map.ts';

export type MeshState =
  | { readonly kind: 'starting' }
  /** `reason` is empty at first, then why the last attempt failed. */
  | { readonly kind: 'signing-in'; readonly reason: string }
  /** `from` disk means: the control plane is away and the last map is served. */
  | { readonly kind: 'running'; readonly self: SelfAddress; readonly from: 'control' | 'disk' }
  /** Somebody has to act; asked again from time to time. */
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'closed' };

export type StateHandler = (state: MeshState) => void;

/** Holds the state and tells it on. */
export class StateHolder {
  #state: MeshState = { kind: 'starting' };
  readonly #handlers = new Set<StateHandler>();

  get current(): MeshState {
    return this.#state;
  }

  /** Closed is final. */
  set(state: MeshState): void {
    if (this.#state.kind === 'closed') return;
    this.#state = state;
    for (const handler of this.#handlers) handler(state);
  }

  /** Calls back at each change from now on; returns how to stop. */
  on(handler: StateHandler): () => void {
    this.#handlers.add(handler);
    return () => this.#handlers.delete(handler);
  }
}
