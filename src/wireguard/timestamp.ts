// TAI64N timestamps (whitepaper §5.1): 8 bytes of seconds and 4 of nanoseconds, big-endian, so that bytes compare as times.

/** 2^62 plus the ten seconds by which TAI led UTC in 1970. */
const epochHigh = 0x4000_0000;
const epochLow = 10;

export const timestampBytes = 12;

/** Makes the timestamps for one peer; each is later than the one before, even where the wall clock stands still or is set back. */
export class TimestampSource {
  readonly #wall: () => number;
  #last = 0;

  constructor(wall: () => number) {
    this.#wall = wall;
  }

  /** The next timestamp, exact to a millisecond. */
  next(): Uint8Array {
    this.#last = Math.max(Math.floor(this.#wall()), this.#last + 1);
    const seconds = Math.floor(this.#last / 1000) + epochLow;
    const view = new DataView(new ArrayBuffer(timestampBytes));
    view.setUint32(0, epochHigh + Math.floor(seconds / 0x1_0000_0000));
    view.setUint32(4, seconds % 0x1_0000_0000);
    view.setUint32(8, (this.#last % 1000) * 1_000_000);
    return new Uint8Array(view.buffer);
  }
}

/** Whether `a` is later than `b`. */
export function isLater(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) > 0;
}
