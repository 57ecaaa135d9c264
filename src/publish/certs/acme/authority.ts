// One certificate authority over acme-client: the calls of RFC 8555 that an order needs, in our own words. acme-client's types stop here.
import { X509Certificate } from 'node:crypto';
import { Client, crypto as acmeCrypto, type Authorization, type Order as AcmeOrder } from 'acme-client';
import { certificateId } from './identifiers.ts';
import { problemOf, plainLine, retryAfter, AcmeProblem, Transport } from './transport.ts';
import { RENEWAL_POLL_MS } from './constants.ts';
import type { AuthoritySettings, AuthorizationView, ChallengeType, ChallengeView, KeyType, OrderView, RenewalWindow } from './types.ts';

/** What of an account is kept: the key belongs to one directory only. */
export interface Account {
  readonly keyPem: string;
  /** Undefined until the authority has answered. */
  readonly url: string | undefined;
}

export interface AuthorityDeps {
  readonly settings: AuthoritySettings;
  readonly email: string | undefined;
  readonly termsAgreed: boolean;
  readonly account: Account;
  /** Called once the authority knows the account. */
  readonly saveAccount: (account: Account) => Promise<void>;
}

/** Every call rejects with AcmeProblem, and with nothing else. */
export class Authority {
  readonly #deps: AuthorityDeps;
  readonly #transport: Transport;
  #client: Client;
  readonly #orders = new Map<string, AcmeOrder>();
  #registering: Promise<void> | undefined;
  #registered: boolean;

  constructor(deps: AuthorityDeps) {
    this.#deps = deps;
    this.#transport = new Transport(deps.settings.ca);
    this.#registered = deps.account.url !== undefined;
    this.#client = newClient(deps, deps.account.url);
  }

  /** `replaces` is the certificate that this one follows (RFC 9773 §5), where this authority issued it. */
  async create(names: readonly string[], replaces: string | undefined, signal: AbortSignal): Promise<OrderView> {
    return await this.#run(signal, async () => {
      await this.#register();
      const identifiers = names.map((value) => ({ type: 'dns', value }));
      try {
        return this.#view(await this.#create(identifiers, replaces));
      } catch (error) {
        // An account that the authority no longer knows is made anew, with the same key.
        if (!(error instanceof AcmeProblem) || !/accountDoesNotExist/.test(error.failure.reason)) throw error;
        this.#registered = false;
        this.#client = newClient(this.#deps, undefined);
        await this.#register();
        return this.#view(await this.#create(identifiers, undefined));
      }
    });
  }

  async authorizations(url: string, type: ChallengeType, signal: AbortSignal): Promise<readonly AuthorizationView[]> {
    return await this.#run(signal, async () => {
      const list = await this.#client.getAuthorizations(this.#known(url));
      return list.map((authorization) => authorizationView(authorization, type));
    });
  }

  /** The key authorization; for dns-01 its digest, as it stands in the TXT record. */
  async proof({ type, token, url }: ChallengeView, signal: AbortSignal): Promise<string> {
    const challenge = { type: type as 'http-01', token, url, status: 'pending' as const };
    return await this.#run(signal, () => this.#client.getChallengeKeyAuthorization(challenge));
  }

  async answer({ type, token, url }: ChallengeView, signal: AbortSignal): Promise<void> {
    await this.#run(signal, () => this.#client.completeChallenge({ type: type as 'http-01', token, url, status: 'pending' }));
  }

  async look(url: string, signal: AbortSignal): Promise<OrderView> {
    return await this.#run(signal, async () => this.#view(await this.#client.getOrder(this.#known(url))));
  }

  async finalize(url: string, names: readonly string[], keyPem: string, signal: AbortSignal): Promise<OrderView> {
    return await this.#run(signal, async () => {
      const [, csr] = await acmeCrypto.createCsr({ altNames: [...names] }, keyPem);
      return this.#view(await this.#client.finalizeOrder(this.#known(url), csr));
    });
  }

  /** The PEM chain of an order that is valid; the order is forgotten. */
  async download(url: string, signal: AbortSignal): Promise<string> {
    const chain = await this.#run(signal, () => this.#client.getCertificate(this.#known(url)));
    this.#orders.delete(url);
    return chain;
  }

  forget(url: string): void {
    this.#orders.delete(url);
  }

  /** When the authority wants the certificate renewed (RFC 9773 §4.1); undefined where its directory does not offer to say. */
  async renewal(chainPem: string, signal: AbortSignal): Promise<RenewalWindow | undefined> {
    return await this.#run(signal, async () => {
      const { directory } = this.#deps.settings;
      const base = field(parse((await this.#get(directory, signal)).body), 'renewalInfo');
      const id = certificateId(new X509Certificate(chainPem));
      if (base === undefined || id === undefined) return undefined;
      const answer = await this.#get(`${base}/${id}`, signal);
      const suggested = parse(answer.body);
      const window = typeof suggested === 'object' && suggested !== null && 'suggestedWindow' in suggested ? suggested.suggestedWindow : undefined;
      const [start, end] = [Date.parse(field(window, 'start') ?? ''), Date.parse(field(window, 'end') ?? '')];
      if (answer.status !== 200 || !(start < end)) return undefined;
      return { start, end, pollMs: retryAfter(answer.headers['retry-after'], Date.parse(String(answer.headers['date'] ?? ''))) ?? RENEWAL_POLL_MS };
    });
  }

  async close(): Promise<void> {
    await this.#transport.close();
  }

  async #run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return await this.#transport.run(signal, work);
  }

  async #get(url: string, signal: AbortSignal): ReturnType<Transport['send']> {
    return await this.#transport.send('GET', url, { accept: 'application/json' }, undefined, signal);
  }

  async #create(identifiers: { readonly type: string; readonly value: string }[], replaces: string | undefined): Promise<AcmeOrder> {
    if (replaces !== undefined) {
      try {
        const data = { identifiers, replaces };
        return await this.#client.createOrder(data);
      } catch (error) {
        // An authority that does not take `replaces`, or has it replaced already, still issues without (RFC 9773 §5).
        if (!(error instanceof AcmeProblem) || error.failure.kind !== 'refused') throw error;
      }
    }
    return await this.#client.createOrder({ identifiers });
  }

  /** Many orders may begin at once: the account is made once. */
  async #register(): Promise<void> {
    if (this.#registered) return;
    this.#registering ??= this.#makeAccount().finally(() => {
      this.#registering = undefined;
    });
    await this.#registering;
  }

  async #makeAccount(): Promise<void> {
    const { email, termsAgreed, account, saveAccount } = this.#deps;
    await this.#client.createAccount({ termsOfServiceAgreed: termsAgreed, ...(email === undefined ? {} : { contact: [`mailto:${email}`] }) });
    this.#registered = true;
    await saveAccount({ keyPem: account.keyPem, url: this.#client.getAccountUrl() });
  }

  #known(url: string): AcmeOrder {
    const order = this.#orders.get(url);
    if (order === undefined) throw new AcmeProblem({ kind: 'unavailable', reason: 'the order is not known any more', retryAfterMs: undefined });
    return order;
  }

  #view(order: AcmeOrder): OrderView {
    this.#orders.set(order.url, order);
    const problem = problemOf(order.error);
    return { url: order.url, status: order.status, problem: problem === undefined ? '' : `${problem.detail} (${problem.type})` };
  }
}

/** With the account's URL it is believed to be known to the authority. */
function newClient({ settings, account }: AuthorityDeps, accountUrl: string | undefined): Client {
  const { directory, binding } = settings;
  return new Client({
    directoryUrl: directory,
    accountKey: account.keyPem,
    ...(accountUrl === undefined ? {} : { accountUrl }),
    ...(binding === undefined ? {} : { externalAccountBinding: { kid: binding.keyId, hmacKey: binding.hmacKey } }),
  });
}

function authorizationView(authorization: Authorization, type: ChallengeType): AuthorizationView {
  const { identifier, status, challenges } = authorization;
  const offered = challenges.find((challenge) => challenge.type === type);
  const failed = challenges.map(({ error }) => problemOf(error)).find((problem) => problem !== undefined);
  return {
    name: plainLine(identifier.value),
    status: status === 'valid' || status === 'pending' ? status : 'failed',
    challenge: offered === undefined ? undefined : { name: identifier.value, type, url: offered.url, token: offered.token },
    problem: failed === undefined ? `the authorization is ${status}` : `${failed.detail} (${failed.type})`,
  };
}

/** The certificate that answers a TLS-ALPN-01 challenge (RFC 8737 §3), with its key: good for nothing else. */
export async function challengeCertificate(name: string, keyAuthorization: string): Promise<{ readonly certPem: string; readonly keyPem: string }> {
  const key = await newPrivateKey('ec256');
  const authorization = { identifier: { type: 'dns', value: name }, status: 'pending' as const, challenges: [], url: '' };
  const [, certificate] = await acmeCrypto.createAlpnCertificate(authorization, keyAuthorization, key);
  return { certPem: certificate.toString(), keyPem: key };
}

/** A new private key as PEM (PKCS #8). */
export async function newPrivateKey(type: KeyType): Promise<string> {
  switch (type) {
    case 'ec256':
      return (await acmeCrypto.createPrivateEcdsaKey('P-256')).toString();
    case 'ec384':
      return (await acmeCrypto.createPrivateEcdsaKey('P-384')).toString();
    case 'rsa2048':
      return (await acmeCrypto.createPrivateRsaKey(2048)).toString();
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function field(value: unknown, name: string): string | undefined {
  const found: unknown =
    typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
  return typeof found === 'string' ? found : undefined;
}
