// A TCP or TLS service as whoever connects sees it: one address for its page and its port, so that the page unlocks for the address that the
// connections come from.
import type { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import { callbackify } from 'node:util';
import { Agent, request } from 'undici';
import { describeError } from '#lib/errors.ts';
import { hostDial } from '#lib/host-dial.ts';
import type { Closable } from '#lib/lifecycle.ts';
import { resolveHost } from '#lib/resolve.ts';
import { apiTimeoutMs, connectMs, unlockEveryMs, unlockRenewShare } from '../constants.ts';
import { cliError } from '../errors.ts';
import { field } from '../output.ts';
import type { ClientPair } from './own-certificate.ts';

export interface PublishedPortOptions {
  readonly domain: string;
  /** Of the gateway's page: where the domain is on HTTPS. */
  readonly pagePort: number;
  /** The service's own port, where it is known; else the page says it. */
  readonly port: number | undefined;
  /** PEM text of a private authority. */
  readonly ca: string | undefined;
  /** Speak TLS to the port; programs here need not. Asked for each connection: the certificate to show, where there is one. */
  readonly tls: (() => Promise<ClientPair | undefined>) | undefined;
  /** A service user's; without one somebody else has to unlock the port. */
  readonly token: string | undefined;
}

export class PublishedPort implements Closable {
  readonly #options: PublishedPortOptions;
  readonly #address: string;
  readonly #agent: Agent;
  #port: number | undefined;
  #unlocking: Promise<void> | undefined;
  #freshUntil = 0;
  #renewal: NodeJS.Timeout | undefined;

  private constructor(options: PublishedPortOptions, address: string) {
    this.#options = options;
    this.#address = address;
    this.#port = options.port;
    const lookup = callbackify(async (_host: string, _options: unknown) => [{ address, family: address.includes(':') ? 6 : 4 }]);
    this.#agent = new Agent({ connect: { lookup, ...(options.ca === undefined ? {} : { ca: options.ca }) } });
  }

  /** Looks the name up. CLI_CONNECT where there is none. */
  static async find(options: PublishedPortOptions): Promise<PublishedPort> {
    const addresses = await resolveHost(options.domain).catch((error: unknown) => {
      throw cliError('CLI_CONNECT', `${options.domain}: ${describeError(error)}`, error);
    });
    const [address] = addresses;
    if (address === undefined) throw cliError('CLI_CONNECT', `${options.domain} has no address`);
    return new PublishedPort(options, address);
  }

  get domain(): string {
    return this.#options.domain;
  }

  /** Opens a connection to the port, unlocked where there is a token. CLI_CONNECT says why not. */
  async dial(signal: AbortSignal): Promise<Duplex> {
    await this.unlock(signal);
    const { domain } = this.#options;
    if (this.#port === undefined) throw cliError('CLI_CONNECT', `say which port: ${domain}:PORT`);
    const within = AbortSignal.any([signal, AbortSignal.timeout(connectMs)]);
    // Before the connection: the gateway does not wait long for a handshake.
    const own = await this.#options.tls?.();
    try {
      const socket = await hostDial({ host: this.#address, port: this.#port }, { signal: within });
      return this.#options.tls === undefined ? socket : await this.#secure(socket, own, within);
    } catch (error) {
      throw cliError('CLI_CONNECT', `${domain} port ${this.#port ?? 0}: ${describeError(error)}`, error);
    }
  }

  /** Shows the token, unless that was a moment ago: our address may have changed meanwhile. */
  unlock(signal: AbortSignal): Promise<void> {
    if (this.#options.token === undefined || performance.now() < this.#freshUntil) return Promise.resolve();
    this.#unlocking ??= this.#unlock(signal).finally(() => (this.#unlocking = undefined));
    return this.#unlocking;
  }

  async close(): Promise<void> {
    clearTimeout(this.#renewal);
    await this.#agent.close();
  }

  /** TLS over the connection, with a certificate of ours where there is one. The other side has to be who it should be. */
  #secure(socket: Duplex, own: ClientPair | undefined, signal: AbortSignal): Promise<Duplex> {
    const { domain, ca } = this.#options;
    return new Promise((resolve, reject) => {
      const secure = connect({ socket, servername: domain, ...own, ...(ca === undefined ? {} : { ca }) });
      const abort = (): void => void secure.destroy(new Error('it took too long'));
      signal.addEventListener('abort', abort, { once: true });
      secure.once('error', reject);
      secure.once('secureConnect', () => {
        signal.removeEventListener('abort', abort);
        secure.off('error', reject);
        secure.on('error', () => undefined); // whoever carries it sees the end
        resolve(secure);
      });
    });
  }

  async #unlock(signal: AbortSignal): Promise<void> {
    const { domain, pagePort, token = '' } = this.#options;
    const url = `https://${domain}${pagePort === 443 ? '' : `:${pagePort}`}/`;
    const within = AbortSignal.any([signal, AbortSignal.timeout(apiTimeoutMs)]);
    const headers = { accept: 'application/json', authorization: `Bearer ${token}` };
    const { status, body } = await request(url, { dispatcher: this.#agent, headers, signal: within }).then(
      async (response) => ({ status: response.statusCode, body: await response.body.text() }),
      (error: unknown) => {
        throw cliError('CLI_CONNECT', `${url}: ${describeError(error)}`, error);
      },
    );
    const told = jsonOf(body);
    if (status !== 200) throw cliError('CLI_CONNECT', `${url} refused the token: ${field(told, 'reason') || field(told, 'title') || String(status)}`);
    const port = Number(field(told, 'port'));
    if (!['tcp', 'tls'].includes(field(told, 'protocol')) || !(port > 0))
      throw cliError('CLI_CONNECT', `${domain} is no TCP or TLS service with sign-in`);
    this.#port ??= port;
    this.#freshUntil = performance.now() + unlockEveryMs;
    // What is open stays open: it is shown again long before the port closes for this address.
    const leftMs = Date.parse(field(told, 'until')) - Date.now();
    if (Number.isNaN(leftMs)) throw cliError('CLI_CONNECT', `${url} does not say how long the port is open`);
    clearTimeout(this.#renewal);
    this.#renewal = setTimeout(
      () => {
        this.#freshUntil = 0;
        void this.unlock(new AbortController().signal).catch(() => undefined);
      },
      Math.max(unlockEveryMs, leftMs * unlockRenewShare),
    ).unref();
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
