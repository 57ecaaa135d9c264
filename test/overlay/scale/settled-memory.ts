// What a process really holds: after collections, until it no longer changes.

/** Bytes of heap and of buffers outside it; of a process that is busy the least of some looks, as what comes between a collection and the look is not held. Needs --expose-gc. */
export async function settledMemory(): Promise<number> {
  if (globalThis.gc === undefined) throw new TypeError('run with --expose-gc');
  let last = Infinity;
  let least = Infinity;
  for (let round = 0; round < 10; round++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    await globalThis.gc({ type: 'major', execution: 'async' });
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    const now = heapUsed + arrayBuffers;
    if (Math.abs(now - last) < 64 * 1024) return now;
    last = now;
    least = Math.min(least, now);
  }
  return least;
}
