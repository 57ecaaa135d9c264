// Waiting for what will be so, without a sleep that has to be long enough.

/** Polls until the look says so; resolves with the milliseconds it took. */
export async function until(what: string, look: () => boolean | Promise<boolean>, limitMs = 10_000): Promise<number> {
  const begun = performance.now();
  for (;;) {
    if (await look()) return performance.now() - begun;
    if (performance.now() - begun > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((done) => {
      setTimeout(done, 5);
    });
  }
}
