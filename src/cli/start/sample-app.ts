// The sample internal app: listens on loopback only, and prints who the gateway says is calling.
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Closable } from '#lib/lifecycle.ts';

export interface SampleApp extends Closable {
  readonly port: number;
}

/** Serves a page (or JSON, by Accept) at every path; `/events` streams the time as server-sent events. */
export async function startSampleApp(port: number): Promise<SampleApp> {
  const server = createServer((request, response) => {
    if (request.url === '/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      const tick = setInterval(() => response.write(`data: ${new Date().toISOString()}\n\n`), 1_000);
      response.on('close', () => clearInterval(tick));
      return;
    }
    const caller = callerOf(request);
    const html = (request.headers.accept ?? '').includes('text/html');
    response.setHeader('content-type', html ? 'text/html; charset=utf-8' : 'application/json');
    response.setHeader('cache-control', 'no-store');
    response.end(html ? page(caller) : `${JSON.stringify(caller, undefined, 2)}\n`);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

type Caller = Readonly<Record<string, string>>;

function callerOf(request: IncomingMessage): Caller {
  const header = (name: string): string => {
    const value = request.headers[name];
    return Array.isArray(value) ? value.join(', ') : (value ?? '');
  };
  return {
    user: header('x-meshgate-user'),
    email: header('x-meshgate-email'),
    name: header('x-meshgate-name'),
    groups: header('x-meshgate-groups'),
    assertion: header('x-meshgate-assertion') === '' ? 'none' : 'signed',
    address: header('x-forwarded-for'),
    host: header('x-forwarded-host'),
    arrivedFrom: request.socket.remoteAddress ?? '',
    path: request.url ?? '',
  };
}

function page(caller: Caller): string {
  const rows = Object.entries(caller).map(([name, value]) => `<tr><th scope="row">${name}</th><td id="${name}">${escape(value)}</td></tr>`);
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Internal app</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;color-scheme:light dark}th{text-align:left;padding-right:1.5rem;font-weight:600}</style>
<h1>Hello, ${escape(caller['name'] === '' ? (caller['email'] ?? '') : (caller['name'] ?? ''))}</h1>
<p>This page comes from an app that listens on 127.0.0.1 only. Your request came through the gateway, an encrypted WireGuard overlay and the agent. The gateway says this of you:</p>
<table>${rows.join('')}</table></html>`;
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
