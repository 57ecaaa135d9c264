// What two peers tell each other through the signal server to find a path (netbird-wire §3.2), after opening the envelope.

export interface PathOffer {
  /** ICE credentials, or undefined where the sender cannot do ICE. */
  readonly ice: { readonly ufrag: string; readonly pwd: string; readonly sessionId: Uint8Array | undefined } | undefined;
  readonly wgListenPort: number;
  readonly version: string;
  /** The sender's home relay, as the relay itself names it. */
  readonly relayAddress: string | undefined;
}

export type SignalMessage =
  | { readonly kind: 'offer'; readonly offer: PathOffer }
  | { readonly kind: 'answer'; readonly offer: PathOffer }
  /** `foundation component udp priority address port typ …` (RFC 8839 §5.1) */
  | { readonly kind: 'candidate'; readonly text: string }
  | { readonly kind: 'go-idle' };
