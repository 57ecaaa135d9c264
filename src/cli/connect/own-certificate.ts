// A client certificate for one service, made for whoever is signed in here. Its key is made in this process and never leaves it.
import { generateKeyPairSync } from 'node:crypto';
import { MeshgateError } from '#lib/errors.ts';
import type { ApiClient } from '../api-client.ts';
import { certificateRenewShare } from '../constants.ts';
import { cliError } from '../errors.ts';
import { field } from '../output.ts';

export interface ClientPair {
  readonly cert: string;
  readonly key: string;
}

export class OwnCertificate {
  readonly #ask: () => Promise<unknown>;
  readonly #key: string;
  readonly port: number | undefined;
  #cert: string;
  #renewAt: number;
  #renewing: Promise<void> | undefined;

  private constructor(ask: () => Promise<unknown>, key: string, first: unknown) {
    this.#ask = ask;
    this.#key = key;
    this.port = Number(field(first, 'port')) || undefined;
    [this.#cert, this.#renewAt] = read(first);
  }

  /** Undefined where the server knows no such service, or makes no certificates for it. CLI_API_REFUSED where the user may not use it. */
  static async mint(api: ApiClient, service: string, port: number | undefined): Promise<OwnCertificate | undefined> {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const body = {
      service,
      ...(port === undefined ? {} : { port }),
      public_key: publicKey.export({ type: 'spki', format: 'pem' }),
    };
    const ask = (): Promise<unknown> => api.call('POST', '/api/certificates/client', body);
    const first = await ask().catch(unlessNone);
    return first === undefined ? undefined : new OwnCertificate(ask, privateKey.export({ type: 'pkcs8', format: 'pem' }), first);
  }

  /** One that is good for a while yet. */
  async current(): Promise<ClientPair> {
    if (performance.now() >= this.#renewAt) {
      this.#renewing ??= this.#renew().finally(() => (this.#renewing = undefined));
      await this.#renewing;
    }
    return { cert: this.#cert, key: this.#key };
  }

  async #renew(): Promise<void> {
    [this.#cert, this.#renewAt] = read(await this.#ask());
  }
}

/** Undefined for "no such service" and "no certificates for it"; everything else is thrown on. */
export function unlessNone(error: unknown): undefined {
  if (error instanceof MeshgateError && error.code === 'CLI_API_REFUSED' && /^40[49]:/.test(error.detail)) return undefined;
  throw error;
}

/** The certificate, and when to get the next one, monotonic milliseconds. */
function read(answer: unknown): [string, number] {
  const cert = field(answer, 'certificate');
  const leftMs = Date.parse(field(answer, 'expires_at')) - Date.now();
  if (cert === '' || Number.isNaN(leftMs)) throw cliError('CLI_API_REFUSED', 'the answer has no certificate');
  return [cert, performance.now() + leftMs * certificateRenewShare];
}
