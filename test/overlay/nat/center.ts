// What peers of the lab reach in the public network: a signal that hands lines on, a relay, a STUN server. A process of its own.
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { WebSocketServer } from 'ws';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { createRelayServer, relayWebSocketOptions } from '#server/relay/index.ts';
import { createStunServer } from '#server/stun/index.ts';

export const centerPorts = { signal: 4000, relay: 4001, stun: 3479 } as const;

/** A line of the signal: who it is for, whom it is from, and the message as JSON. */
export interface SignalLine {
  readonly to: string;
  readonly from: string;
  readonly message: unknown;
}

if (process.argv[2] === 'center') await serve(process.argv[3] ?? '127.0.0.1');

async function serve(relayHost: string): Promise<void> {
  const receivers = new Map<string, (line: string) => void>();
  const signal = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    const lines = createInterface({ input: socket });
    // A peer that is killed resets its connection.
    lines.on('error', () => undefined);
    lines.on('line', (line) => {
      const { to, from } = JSON.parse(line) as SignalLine;
      receivers.set(from, (text) => socket.write(`${text}\n`));
      receivers.get(to)?.(line);
    });
  });
  const relay = createRelayServer({
    secret: 'relay-secret',
    instanceUrl: () => `rel://${relayHost}:${centerPorts.relay}`,
    log: silentLogger,
    clock: systemClock,
  });
  const http = createHttpServer((_request, response) => response.end(JSON.stringify(relay.issueToken(Date.now()))));
  const sockets = new WebSocketServer(relayWebSocketOptions);
  http.on('upgrade', (request, socket, head) => sockets.handleUpgrade(request, socket, head, (webSocket) => relay.accept(webSocket)));
  await createStunServer({ host: '::', port: centerPorts.stun, log: silentLogger });
  await new Promise<void>((resolve) => http.listen(centerPorts.relay, '::', resolve));
  await new Promise<void>((resolve) => signal.listen(centerPorts.signal, '::', resolve));
  process.stdin.on('end', () => process.exit(0)).resume();
  process.stdout.write(`${JSON.stringify(relay.issueToken(Date.now()))}\n`);
}
