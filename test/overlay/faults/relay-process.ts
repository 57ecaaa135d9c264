// A relay as a process of its own: started by a test in a namespace, and killed there.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocketServer } from 'ws';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { createRelayServer, relayWebSocketOptions } from '#server/relay/index.ts';
import type { FromRelay, ToRelay } from './protocol.ts';

process.once('message', ({ address, port }: ToRelay) => {
  const http = createServer();
  const url = (): string => `rel://${address}:${(http.address() as AddressInfo).port}`;
  const relay = createRelayServer({ secret: 'relay-secret', instanceUrl: url, log: silentLogger, clock: systemClock });
  const sockets = new WebSocketServer(relayWebSocketOptions);
  http.on('upgrade', (request, socket, head) => sockets.handleUpgrade(request, socket, head, (webSocket) => relay.accept(webSocket)));
  http.listen(port, address, () => {
    const token = relay.issueToken(Date.now());
    const started: FromRelay = {
      kind: 'endpoints',
      port: (http.address() as AddressInfo).port,
      endpoints: {
        signal: { host: 'localhost', port: 1, tls: false },
        stunUrls: [],
        relay: { urls: [url()], tokenPayload: token.payload, tokenSignature: token.signature },
      },
    };
    process.send?.(started);
  });
});
