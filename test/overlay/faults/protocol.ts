// What a test and its processes in namespaces say to each other.
import type { MeshEndpoints, NetworkMap } from '#model/network-map.ts';
import type { SignalMessage } from '#model/signal.ts';
import type { OverlayFigures, PeerPathStatus } from '#model/status.ts';

export type ToPeer =
  | { readonly kind: 'open'; readonly privateKey: Uint8Array; readonly forceRelay: boolean }
  | { readonly kind: 'map'; readonly map: NetworkMap }
  | { readonly kind: 'endpoints'; readonly endpoints: MeshEndpoints }
  | { readonly kind: 'signal'; readonly from: string; readonly message: SignalMessage }
  /** Opens a connection to an echo and keeps data going through it. */
  | { readonly kind: 'traffic'; readonly host: string }
  /** From now on counts the longest silence anew. */
  | { readonly kind: 'mark' }
  | { readonly kind: 'ask' }
  /** Ends the data, waits for the last of it, and says what it was. */
  | { readonly kind: 'finish' };

export type FromPeer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'signal'; readonly to: string; readonly message: SignalMessage }
  | { readonly kind: 'flowing' }
  | { readonly kind: 'answer'; readonly answer: Answer }
  | { readonly kind: 'finished'; readonly sent: string; readonly received: string; readonly bytes: number }
  | { readonly kind: 'failed'; readonly reason: string };

export interface Answer {
  readonly peer: PeerPathStatus | undefined;
  readonly relayConnected: boolean;
  readonly figures: OverlayFigures;
  /** Since the mark: the longest time without data, also the one that lasts now. */
  readonly silenceMs: number;
  /** How long data has come without a silence of half a second. */
  readonly steadyMs: number;
  /** The connections of this peer as they stand, for whoever has to find out why one does not go on. */
  readonly streams: readonly string[];
}

export type ToRelay = { readonly kind: 'start'; readonly address: string; readonly port: number };
export type FromRelay = { readonly kind: 'endpoints'; readonly port: number; readonly endpoints: MeshEndpoints };
