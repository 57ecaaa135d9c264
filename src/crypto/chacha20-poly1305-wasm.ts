// ChaCha20-Poly1305 (RFC 8439 §2.8) as one WebAssembly function for sealing and one for opening, each a whole message in place in one call.
//
// Both numbers of the cipher are made at the same time: between the vector instructions of the four blocks of key stream in hand stand the
// scalar ones that authenticate the ciphertext at hand, which the processor runs beside them. Sealing authenticates what the step before
// has written, opening what this step is about to decrypt.
import { addState, type ChaChaLocals, doubleRound, loadState, output, prepareOrders, single, stepBytes } from './chacha20-code.ts';
import { type PolyCode, polyCode, polyLocals } from './poly1305-code.ts';
import { type Code, copyMemory, encodeModule, get, i32Const, memory, repeatWhile, seq, set, simd, type WasmFunction, when } from './wasm-encoder.ts';
import { copy, difference, i32, i64, load64, range, step, v128, words } from './wasm-ops.ts';

/** Where the caller puts ChaCha20's state of 16 little-endian words (RFC 8439 §2.3); the word of the counter is not looked at. */
export const stateAt = 0;
/** A step's key stream, where it is not applied whole. */
const streamAt = 64;
/** The end of the ciphertext, padded with zeros, and the block of lengths. */
const endAt = streamAt + stepBytes;
const endBytes = 48;
/** Less than a block of the message. */
const restAt = endAt + endBytes;
/** From here on the memory is the caller's; nothing of a message is read or written beyond its own bytes and its tag. */
export const freeAt = 512;

/** Pairs of blocks that a step authenticates: as many as it has bytes. */
const pairsOfStep = stepBytes / 32;
const doubleRounds = 10;
const blockBytes = 64;
/** Eight 16-bit words to four sums of neighbours. */
const addPairs16 = simd(127);

const [at, length, end, poly, stop, key, pairs, rounds, counter, first] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] as const;
const chacha: ChaChaLocals = { x: (i) => 10 + i, t: (i) => 26 + i, order: (bits) => (bits === 8 ? 30 : 31), counter };
const numbers = 32;
const { begin, block, finish, low, high }: PolyCode = polyCode(numbers);
/** Two blocks: as many as go with a double round. */
const pair = (place: number): readonly Code[] => [...block(place, 0), ...block(place, 16)];
const locals = [...range(8).map(() => 'i32' as const), ...range(22).map(() => 'v128' as const), ...range(polyLocals).map(() => 'i64' as const)];

/** Deals the pieces of two sequences out evenly. */
function interleave(one: readonly Code[], other: readonly Code[]): Code {
  const share = (i: number): number => Math.floor((i * other.length) / one.length);
  return seq(...one.flatMap((piece, i) => [piece, ...other.slice(share(i), share(i + 1))]));
}

/** Authenticates pairs of blocks from `poly` to `stop`, as long as there are 32 bytes. */
const pairsToStop = ((): Code => {
  const another = seq(difference(stop, poly), i32Const(32), i32.atLeast);
  return when(another, repeatWhile(seq(...pair(poly), step(poly, 32), another)));
})();

/** Sets aside what is left to authenticate, before it may be overwritten. */
const keepEnd = seq(i32Const(endAt), get(poly), difference(end, poly), copyMemory);

/** Bytes at `endAt` before the block of lengths. */
const endLength = seq(get(length), i32Const(31), i32.and, i32Const(15), i32.add, i32Const(48), i32.and);

const prepare = seq(
  prepareOrders(chacha),
  set(end, get(at), get(length), i32.add),
  copy(at, poly),
  set(first, i32Const(1)),
  ...range(endBytes / 16).map((i) => seq(i32Const(0), words([0, 0, 0, 0]), memory(v128.store, endAt + 16 * i))),
  endLength,
  get(length),
  i64.from32,
  memory(i64.store, endAt + 8),
);

/** Applies key stream from `streamAt`, not the whole of it: the first step's, whose first block is the authenticator's key, or the last one's. */
function applyPart(opens: boolean): Code {
  const whole = seq(difference(stop, at), i32Const(16), i32.atLeast);
  return seq(
    when(get(first), seq(begin(key), set(key, i32Const(streamAt + 64)), set(first, i32Const(0)))),
    set(stop, get(at), i32Const(streamAt + stepBytes), i32.add, get(key), i32.sub),
    when(seq(get(stop), get(end), i32.atLeast), copy(end, stop)),
    opens ? seq(pairsToStop, when(seq(difference(end, stop), i32.equalsZero), keepEnd)) : [],
    when(
      whole,
      repeatWhile(
        seq(
          seq(get(at), get(at), memory(v128.load, 0), get(key), memory(v128.load, 0), v128.xor, memory(v128.store, 0)),
          step(at, 16),
          step(key, 16),
          whole,
        ),
      ),
    ),
    when(
      difference(stop, at),
      seq(
        seq(i32Const(restAt), get(at), difference(stop, at), copyMemory),
        seq(i32Const(restAt), i32Const(restAt), memory(v128.load, 0), get(key), memory(v128.load, 0), v128.xor, memory(v128.store, 0)),
        seq(get(at), i32Const(restAt), difference(stop, at), copyMemory),
        copy(stop, at),
      ),
    ),
  );
}

/** The double rounds of key stream, with as many pairs of blocks between them as `pairs` says. */
function roundsWithPairs(pieces: readonly Code[]): Code {
  return seq(
    set(rounds, i32Const(doubleRounds), get(pairs), i32.sub),
    when(get(pairs), repeatWhile(seq(interleave(pieces, pair(poly)), step(poly, 32), step(pairs, -1), get(pairs)))),
    repeatWhile(seq(...pieces, step(rounds, -1), get(rounds))),
  );
}

/** One step of up to 256 bytes; leaves what is left of the message. */
function stepCode(opens: boolean): Code {
  const waiting = opens ? difference(end, poly) : difference(at, poly);
  const later = seq(get(first), i32.equalsZero);
  const toStream = set(key, i32Const(streamAt));
  const fourBlocks = seq(
    loadState(stateAt, chacha),
    roundsWithPairs(doubleRound(chacha)),
    addState(stateAt, chacha),
    step(counter, 4),
    when(
      seq(difference(end, at), i32Const(stepBytes), i32.atLeast, later, i32.and),
      seq(output(chacha, at, 'xor'), step(at, stepBytes), set(key, i32Const(0))),
      seq(toStream, output(chacha, key, 'replace')),
    ),
  );
  const oneBlock = seq(
    single.loadState(stateAt, chacha),
    roundsWithPairs(single.doubleRound(chacha)),
    single.addState(stateAt, chacha),
    seq(toStream, single.output(chacha, key)),
  );
  return seq(
    set(pairs, i32Const(0)),
    when(
      later,
      seq(
        set(pairs, waiting, i32Const(5), i32.shiftRight),
        when(seq(get(pairs), i32Const(pairsOfStep), i32.atLeast), set(pairs, i32Const(pairsOfStep))),
      ),
    ),
    // packets of 1,280 bytes, the smallest MTU of IPv6, end with one block
    when(seq(i32Const(blockBytes), difference(end, at), i32.atLeast, later, i32.and), oneBlock, fourBlocks),
    when(get(key), applyPart(opens)),
    difference(end, at),
  );
}

/** The blocks that were set aside, and the tag in `low` and `high`. */
const authenticateEnd = seq(
  set(poly, i32Const(endAt)),
  set(pairs, endLength, i32Const(4), i32.shiftRight, i32Const(1), i32.add),
  repeatWhile(seq(...block(poly, 0), step(poly, 16), step(pairs, -1), get(pairs))),
  finish,
);

/** `seal(at, length)`: encrypts a message where it stands and writes the tag behind it. */
const seal: WasmFunction = {
  name: 'seal',
  parameters: 2,
  locals,
  body: seq(
    prepare,
    repeatWhile(stepCode(false)),
    seq(copy(end, stop), pairsToStop, keepEnd, authenticateEnd),
    seq(get(end), get(low), memory(i64.store, 0), get(end), get(high), memory(i64.store, 8)),
  ),
};

/** `open(at, length)`: decrypts a message where it stands; 1 where the tag behind it is right, else 0 and the bytes mean nothing. */
const open: WasmFunction = {
  name: 'open',
  parameters: 2,
  result: true,
  locals,
  body: seq(
    prepare,
    repeatWhile(stepCode(true)),
    authenticateEnd,
    seq(get(low), load64(end, 0), i64.xor, get(high), load64(end, 8), i64.xor, i64.or, i64.equalsZero),
  ),
};

/**
 * `sum(at, end)`: adds the little-endian 16-bit words of as many whole blocks of 16 bytes as there are, exact for up to 64 KiB. It belongs to
 * the Internet checksum of packets that stand here to be sealed.
 */
const sum: WasmFunction = {
  name: 'sum',
  parameters: 2,
  result: true,
  locals: ['v128'],
  body: ((): Code => {
    const [from, to, sums] = [0, 1, 2];
    const another = seq(difference(to, from), i32Const(16), i32.atLeast);
    const addBlock = set(sums, get(sums), get(from), memory(v128.load, 0), addPairs16, v128.add32);
    const lanes = range(4).map((lane) => seq(get(sums), simd(27), [lane], lane > 0 ? i32.add : []));
    return seq(when(another, repeatWhile(seq(addBlock, step(from, 16), another))), ...lanes);
  })(),
};

/** The module with `seal`, `open` and `sum`, and so many pages of memory. */
export function chachaPolyModule(pages: number): Uint8Array<ArrayBuffer> {
  return encodeModule([seal, open, sum], pages);
}
