// What peers tell each other through signal, in both directions (netbird-wire §3.2). A message comes from a peer that may be hostile.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { PathOffer, SignalMessage } from '#model/signal.ts';
import { type Body, type BodySchema, Body_Type } from '#wire/proto/gen/signalexchange_pb.ts';
import { maxSignalText } from './constants.ts';

export function bodyOf(message: SignalMessage): MessageInitShape<typeof BodySchema> {
  switch (message.kind) {
    case 'offer':
      return { type: Body_Type.OFFER, ...offerBody(message.offer) };
    case 'answer':
      return { type: Body_Type.ANSWER, ...offerBody(message.offer) };
    case 'candidate':
      return { type: Body_Type.CANDIDATE, payload: message.text };
    case 'go-idle':
      return { type: Body_Type.GO_IDLE };
  }
}

function offerBody(offer: PathOffer): MessageInitShape<typeof BodySchema> {
  return {
    payload: offer.ice === undefined ? ':' : `${offer.ice.ufrag}:${offer.ice.pwd}`,
    wgListenPort: offer.wgListenPort,
    netBirdVersion: offer.version,
    rosenpassConfig: {},
    ...(offer.relayAddress === undefined ? {} : { relayServerAddress: offer.relayAddress }),
    ...(offer.ice?.sessionId === undefined ? {} : { sessionId: offer.ice.sessionId }),
  };
}

/** The message inside, or undefined where it is of a kind that means nothing to us or is not well formed. */
export function signalFrom(body: Body): SignalMessage | undefined {
  if (body.payload.length > maxSignalText) return undefined;
  switch (body.type) {
    case Body_Type.OFFER:
    case Body_Type.ANSWER: {
      const offer = offerFrom(body);
      return offer === undefined ? undefined : { kind: body.type === Body_Type.OFFER ? 'offer' : 'answer', offer };
    }
    case Body_Type.CANDIDATE:
      return body.payload === '' ? undefined : { kind: 'candidate', text: body.payload };
    case Body_Type.GO_IDLE:
      return { kind: 'go-idle' };
    case Body_Type.MODE:
    case Body_Type.HEARTBEAT:
      return undefined;
    default:
      return undefined; // a newer kind
  }
}

function offerFrom(body: Body): PathOffer | undefined {
  const parts = body.payload.split(':');
  const [ufrag, pwd] = parts;
  if (parts.length !== 2 || ufrag === undefined || pwd === undefined) return undefined;
  const relayAddress = body.relayServerAddress;
  if (relayAddress !== undefined && relayAddress.length > maxSignalText) return undefined;
  return {
    ice: ufrag === '' || pwd === '' ? undefined : { ufrag, pwd, sessionId: body.sessionId?.length === 5 ? body.sessionId : undefined },
    wgListenPort: body.wgListenPort <= 65_535 ? body.wgListenPort : 0,
    version: body.netBirdVersion.slice(0, 64),
    relayAddress: relayAddress === '' ? undefined : relayAddress,
  };
}
