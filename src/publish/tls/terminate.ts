// TLS at our side: the ClientHello is read first, so that the certificate and what is asked of the client are known before the handshake begins,
// and no other can slip in.
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createSecureContext, TLSSocket } from 'node:tls';
import { describeError } from '#lib/errors.ts';
import { ClientHelloReader, type ClientHello } from '#wire/client-hello.ts';
import type { Certificate } from '../certs/certificate.ts';
import type { CertificateSource } from '../certs/directory.ts';
import { CHALLENGE_HANDSHAKE_MS } from '../certs/acme/constants.ts';
import type { Stapler } from '../certs/ocsp/stapler.ts';
import { HANDSHAKE_MS, LINGER_MS } from '../constants.ts';
import type { SecureContexts } from './secure-contexts.ts';
import { shownCertificate, type CompiledClientRule, type ShownCertificate } from './client-certificates.ts';
import type { Deadlined, Deadlines } from '../http/deadlines.ts';

/** Why a connection came to nothing before it spoke HTTP. */
export type HandshakeFault =
  | 'not_tls'
  | 'malformed'
  | 'too_large'
  | 'unknown_name'
  | 'certificate'
  | 'timeout'
  | 'closed'
  | 'handshake'
  /** The client has shown no certificate that is good here. */
  | 'client_certificate'
  /** No fault: a certificate authority saw its answer (RFC 8737). */
  | 'challenge';

export interface Terminated {
  readonly socket: TLSSocket;
  /** Canonical. */
  readonly serverName: string;
  /** Undefined where the host asks for none. */
  readonly shown: ShownCertificate | undefined;
}

/** Whoever knows the TLS-ALPN-01 challenges that are live; never rejects. */
export interface ChallengeSource {
  certificate(host: string): Promise<Certificate | undefined>;
}

export interface TerminateDeps {
  readonly certificates: CertificateSource;
  readonly challenges?: ChallengeSource | undefined;
  readonly deadlines: Deadlines;
  readonly contexts: SecureContexts;
  /** OCSP answers; left out, none is stapled. */
  readonly stapler?: Stapler | undefined;
  /** ALPN's wire form (RFC 7301 §3.1) of what is spoken here, in our order; undefined agrees to nothing. */
  readonly protocols: Buffer | undefined;
  /** What exactly this host asks of clients; undefined for nothing. */
  readonly clients: (serverName: string) => CompiledClientRule | undefined;
}

/** One fatal alert in a record of its own (RFC 8446 §6.2): the client asked for a name that we do not have. */
const unrecognizedName = Buffer.from([21, 3, 3, 0, 2, 2, 112]);

/** The protocol of TLS-ALPN-01 (RFC 8737 §4). */
const acmeProtocol = 'acme-tls/1';
/** One fatal alert: access_denied (RFC 8446 §6.2). */
const accessDenied = Buffer.from([21, 3, 3, 0, 2, 2, 49]);

/**
 * Terminates TLS on an accepted socket. `hello` is given where somebody has read it already and put the bytes back; otherwise it is
 * read here. Exactly one of `ready` and `failed` is called, once; after `failed` the socket is closed or closing.
 */
export function terminateTls(
  socket: Duplex,
  hello: ClientHello | undefined,
  deps: TerminateDeps,
  ready: (terminated: Terminated) => void,
  failed: (fault: HandshakeFault, detail: string) => void,
): void {
  new Handshake(socket, deps, ready, failed).begin(hello);
}

class Handshake implements Deadlined {
  slot = -1;
  deadline: number;
  readonly #socket: Duplex;
  readonly #deps: TerminateDeps;
  readonly #ready: (terminated: Terminated) => void;
  readonly #failed: (fault: HandshakeFault, detail: string) => void;
  readonly #reader = new ClientHelloReader();
  readonly #held: Buffer[] = [];
  #secured: TLSSocket | undefined;
  #over = false;

  constructor(socket: Duplex, deps: TerminateDeps, ready: (terminated: Terminated) => void, failed: (fault: HandshakeFault, detail: string) => void) {
    this.#socket = socket;
    this.#deps = deps;
    this.#ready = ready;
    this.#failed = failed;
    this.deadline = deps.deadlines.now() + HANDSHAKE_MS;
    deps.deadlines.add(this);
    socket.on('error', this.#onError);
    socket.on('end', this.#onClose);
    socket.on('close', this.#onClose);
  }

  begin(hello: ClientHello | undefined): void {
    if (hello === undefined) this.#socket.on('data', this.#onData);
    else this.#secure(hello);
  }

  expire(): void {
    this.#fail('timeout', '');
    this.#socket.destroy();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#held.push(chunk);
    const result = this.#reader.push(chunk);
    if (result.kind === 'more') return;
    this.#socket.off('data', this.#onData);
    this.#socket.pause();
    if (result.kind === 'bad') {
      this.#fail(result.reason, '');
      this.#socket.destroy();
      return;
    }
    this.#socket.unshift(this.#held.length === 1 ? chunk : Buffer.concat(this.#held));
    this.#secure(result.hello);
  };

  #secure(hello: ClientHello): void {
    if (this.#deps.challenges !== undefined && hello.alpn.length === 1 && hello.alpn[0] === acmeProtocol) {
      void this.#prove(hello.serverName ?? '', this.#deps.challenges);
      return;
    }
    const certificate = hello.serverName === undefined ? undefined : this.#deps.certificates.find(hello.serverName);
    if (hello.serverName === undefined || certificate === undefined) {
      this.#fail('unknown_name', hello.serverName ?? '');
      this.#refuse(unrecognizedName);
      return;
    }
    const serverName = hello.serverName;
    const clients = this.#deps.clients(serverName);
    if (clients !== undefined && 'problem' in clients) {
      this.#fail('client_certificate', clients.problem);
      this.#refuse(accessDenied);
      return;
    }
    const server = this.#deps.stapler?.server(certificate);
    let secured: TLSSocket;
    try {
      secured = new TLSSocket(asSocket(this.#socket), {
        isServer: true,
        secureContext: this.#deps.contexts.get(certificate, this.#deps.deadlines.now(), clients),
        ...(this.#deps.protocols === undefined ? {} : { ALPNProtocols: this.#deps.protocols }),
        ...(clients === undefined ? {} : { requestCert: true, rejectUnauthorized: clients.required }),
        ...(server === undefined ? {} : { server }),
      });
    } catch (error) {
      this.#fail('certificate', describeError(error));
      this.#socket.destroy();
      return;
    }
    this.#secured = secured;
    secured.on('error', this.#onError);
    secured.on('end', this.#onClose);
    secured.on('close', this.#onClose);
    // Emitted when the handshake is complete on the server's side.
    secured.once('secure', () => {
      if (this.#over) return;
      const shown = clients === undefined ? undefined : shownCertificate(secured, clients);
      if (shown !== undefined && 'fault' in shown) {
        this.#fail('client_certificate', `${serverName}: ${shown.fault}`);
        this.#socket.destroy();
        return;
      }
      this.#settle();
      // Only node:tls's own server clears this mark, and node:http2 waits for it.
      Object.assign(secured, { secureConnecting: false });
      this.#ready({ socket: secured, serverName, shown });
    });
  }

  /** Only the challenge certificate of exactly this name, or the alert; within a deadline of its own (RFC 8737 §3, attack row T-13). */
  async #prove(name: string, challenges: ChallengeSource): Promise<void> {
    this.deadline = Math.min(this.deadline, this.#deps.deadlines.now() + CHALLENGE_HANDSHAKE_MS);
    const certificate = await challenges.certificate(name);
    if (this.#over) return;
    if (certificate === undefined) {
      this.#fail('unknown_name', name);
      this.#refuse(unrecognizedName);
      return;
    }
    const secureContext = createSecureContext({ cert: certificate.certPem, key: certificate.keyPem, minVersion: 'TLSv1.2' });
    const secured = new TLSSocket(asSocket(this.#socket), { isServer: true, secureContext, ALPNProtocols: [acmeProtocol] });
    this.#secured = secured;
    secured.on('error', this.#onError);
    secured.on('end', this.#onClose);
    secured.on('close', this.#onClose);
    secured.once('secure', () => {
      this.#fail('challenge', name);
      secured.end();
      this.#linger();
    });
  }

  /** The rest of the client's hello is read away, else closing would reset the connection and lose the alert; but not for long. */
  #refuse(alert: Buffer): void {
    this.#linger();
    this.#socket.end(alert);
    this.#socket.resume();
  }

  #linger(): void {
    this.deadline = this.#deps.deadlines.now() + LINGER_MS;
    this.#deps.deadlines.add(this);
    this.#socket.once('close', () => this.#deps.deadlines.remove(this));
  }

  readonly #onError = (error: Error): void => {
    this.#fail('handshake', error.message);
    this.#secured?.destroy();
    this.#socket.destroy();
  };

  /** Also at a client's FIN: nobody half-closes within a handshake, and who is gone must not hold a place until the deadline. */
  readonly #onClose = (): void => {
    this.#fail('closed', '');
    this.#socket.destroy();
  };

  #fail(fault: HandshakeFault, detail: string): void {
    if (this.#over) return;
    this.#settle();
    this.#socket.on('error', () => this.#socket.destroy());
    this.#secured?.on('error', () => this.#socket.destroy());
    this.#failed(fault, detail);
  }

  #settle(): void {
    this.#over = true;
    this.#deps.deadlines.remove(this);
    this.#socket.off('data', this.#onData);
    this.#socket.off('error', this.#onError);
    this.#socket.off('end', this.#onClose);
    this.#socket.off('close', this.#onClose);
    this.#secured?.off('error', this.#onError);
    this.#secured?.off('end', this.#onClose);
    this.#secured?.off('close', this.#onClose);
  }
}

/** TLSSocket takes any Duplex (Node's documentation of `new tls.TLSSocket`), which its types do not say. */
function asSocket(stream: Duplex): Socket {
  return stream as Socket;
}
