// What the doctor sees of a host from outside, as a visitor would: its addresses, its port, its certificate, and what its gateway says.
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { Agent, request } from 'undici';

export interface Seen {
  readonly address: string;
  readonly ms: number;
}

export interface SeenCertificate {
  /** Why a browser would not take it; undefined where it would. */
  readonly problem: string | undefined;
  readonly issuer: string;
  readonly validTo: Date;
}

/** Rejects with the system's error where nothing takes the connection in time. */
export function reachPort(address: string, port: number, signal: AbortSignal): Promise<Seen> {
  return new Promise((resolve, reject) => {
    const begun = performance.now();
    const socket = connectTcp({ host: address, port });
    settle(socket, signal, reject);
    socket.once('connect', () => {
      socket.destroy();
      resolve({ address, ms: performance.now() - begun });
    });
  });
}

/** The certificate that the port shows for the name. Rejects where there is no handshake. */
export function lookAtCertificate(
  host: string,
  address: string,
  port: number,
  ca: string | undefined,
  signal: AbortSignal,
): Promise<SeenCertificate> {
  return new Promise((resolve, reject) => {
    // What is wrong with the certificate is to be told, not to end the look.
    const socket = connectTls({ host: address, port, servername: host, rejectUnauthorized: false, ...(ca === undefined ? {} : { ca }) });
    settle(socket, signal, reject);
    socket.once('secureConnect', () => {
      const { issuer, valid_to: validTo } = socket.getPeerCertificate();
      socket.destroy();
      const name = [issuer?.CN, issuer?.O].find((text) => typeof text === 'string') ?? 'unknown';
      resolve({ problem: problemOf(socket), issuer: name, validTo: new Date(validTo) });
    });
  });
}

function problemOf(socket: TLSSocket): string | undefined {
  if (socket.authorized) return undefined;
  const error: unknown = socket.authorizationError;
  return error instanceof Error ? error.message : String(error);
}

function settle(socket: Socket, signal: AbortSignal, reject: (reason: Error) => void): void {
  const aborted = (): void => {
    socket.destroy();
    reject(new Error('no answer in time'));
  };
  signal.addEventListener('abort', aborted, { once: true });
  socket.once('close', () => signal.removeEventListener('abort', aborted));
  socket.on('error', reject);
}

/** The steps that the gateway itself goes, as it answers them. Rejects where it does not. */
export async function askGateway(
  { host, address, port, ca, token, path }: GatewayQuestion,
  signal: AbortSignal,
): Promise<{ readonly status: number; readonly body: unknown }> {
  // Checked like a browser would: the token is for nobody else.
  const agent = new Agent({ connect: { servername: host, ...(ca === undefined ? {} : { ca }) } });
  try {
    const url = `https://${address.includes(':') ? `[${address}]` : address}:${port}/.meshgate/diagnosis?path=${encodeURIComponent(path)}`;
    const answer = await request(url, {
      dispatcher: agent,
      headers: { host: port === 443 ? host : `${host}:${port}`, 'x-meshgate-diagnosis': token },
      signal,
    });
    return { status: answer.statusCode, body: await answer.body.json() };
  } finally {
    await agent.close();
  }
}

export interface GatewayQuestion {
  readonly host: string;
  readonly address: string;
  readonly port: number;
  readonly ca: string | undefined;
  readonly token: string;
  readonly path: string;
}
