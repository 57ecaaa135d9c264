/** The services of the benchmark. */
export const hosts = { open: 'open.bench.test', signedIn: 'signed-in.bench.test', ruled: 'ruled.bench.test', sockets: 'sockets.bench.test' } as const;
