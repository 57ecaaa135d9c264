// Inputs that reached an edge while fuzzing or while the parsers were written, by the edge that they reach.
import { messageTypes } from '#wire/wireguard.ts';

function message(type: number, length: number, fill = 0): Uint8Array {
  const bytes = new Uint8Array(length).fill(fill);
  bytes.set([type, 0, 0, 0].slice(0, length));
  return bytes;
}

export function keptDatagrams(): readonly (readonly [name: string, bytes: Uint8Array])[] {
  const { initiation, response, cookieReply, transport } = messageTypes;
  const lengths = [0, 1, 3, 4, 15, 16, 31, 32, 33, 63, 64, 65, 91, 92, 93, 147, 148, 149, 65_507, 65_508, 65_536];
  return [
    ...lengths.flatMap((length) =>
      [initiation, response, cookieReply, transport, 0, 5, 255].map((type) => [`type ${type}, ${length} bytes`, message(type, length)] as const),
    ),
    ['a counter of all ones', message(transport, 64, 0xff)],
    ['a type with a reserved byte', message(transport, 64).map((byte, i) => (i === 3 ? 1 : byte))],
    ['an ephemeral key of zeros', message(initiation, 148)],
    ['an ephemeral key of ones', message(initiation, 148, 1)],
  ];
}
