// A certificate authority that does what a test says: Pebble has no rate limits and no renewal information. It checks no signature and no proof.
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { randomBytes, webcrypto } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';
import { createTestCa } from './test-ca.ts';

export interface Scripted {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
}

export interface FakeAcme {
  readonly directory: string;
  readonly ca: string;
  /** Payloads that were posted, by resource: `newAccount`, `newOrder`, `finalize` … */
  readonly seen: { readonly resource: string; readonly payload: Readonly<Record<string, unknown>> }[];
  /** What answers instead; undefined lets the order go its way. */
  script: (resource: string, payload: Readonly<Record<string, unknown>>) => Scripted | undefined;
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export function problem(status: number, type: string, detail: string, headers: Readonly<Record<string, string>> = {}): Scripted {
  return {
    status,
    headers: { 'content-type': 'application/problem+json', ...headers },
    body: { type: `urn:ietf:params:acme:error:${type}`, detail },
  };
}

export async function startFakeAcme(t: Test): Promise<FakeAcme> {
  const tls = await createTestCa();
  const own = await tls.issue(['localhost', '127.0.0.1']);
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  let chain = '';
  let names: readonly string[] = [];
  const fake: FakeAcme = { directory: '', ca: tls.caPem, seen: [], script: () => undefined };

  async function sign(csr: string): Promise<string> {
    const request = new x509.Pkcs10CertificateRequest(Buffer.from(csr, 'base64url'));
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: `01${randomBytes(15).toString('hex')}`,
      subject: 'CN=fake',
      issuer: 'CN=fake authority',
      notBefore: new Date(Date.now() - 60_000),
      notAfter: new Date(Date.now() + 90 * 86_400_000),
      publicKey: request.publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: algorithm,
      extensions: [
        new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns', value }))),
        await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    return certificate.toString('pem');
  }

  async function answer(resource: string, payload: Readonly<Record<string, unknown>>, base: string): Promise<Scripted> {
    const scripted = fake.script(resource, payload);
    if (scripted !== undefined) return scripted;
    const order = (status: string): Scripted => ({
      status: resource === 'newOrder' ? 201 : 200,
      headers: { location: `${base}/order` },
      body: { status, identifiers: [], authorizations: [`${base}/authorization`], finalize: `${base}/finalize`, certificate: `${base}/certificate` },
    });
    switch (resource) {
      case 'dir': {
        const urls = ['newNonce', 'newAccount', 'newOrder', 'revokeCert', 'renewalInfo'].map((name) => [name, `${base}/${name}`]);
        return { status: 200, body: Object.fromEntries(urls) };
      }
      case 'newNonce':
        return { status: 200, body: '' };
      case 'newAccount':
        return { status: 201, headers: { location: `${base}/account` }, body: { status: 'valid' } };
      case 'newOrder':
        names = (payload['identifiers'] as { value: string }[]).map(({ value }) => value);
        return order('pending');
      case 'authorization':
        return { status: 200, body: { status: 'valid', identifier: { type: 'dns', value: names[0] }, challenges: [] } };
      case 'order':
        return order('ready');
      case 'finalize':
        chain = await sign(String(payload['csr']));
        return order('valid');
      case 'certificate':
        return { status: 200, headers: { 'content-type': 'application/pem-certificate-chain' }, body: chain };
      default:
        return { status: 404, body: {} };
    }
  }

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const base = `https://${request.headers.host ?? ''}`;
    const resource = (request.url ?? '').split('/')[1] ?? '';
    const sent = text === '' ? '' : (JSON.parse(text) as { payload: string }).payload;
    const payload = sent === '' ? {} : (JSON.parse(Buffer.from(sent, 'base64url').toString('utf8')) as Record<string, unknown>);
    fake.seen.push({ resource, payload });
    const { status, headers = {}, body } = await answer(resource, payload, base);
    response.writeHead(status, { 'content-type': 'application/json', 'replay-nonce': randomBytes(8).toString('hex'), ...headers });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };
  const server = createServer({ cert: own.certPem, key: own.keyPem }, (request, response) => void handle(request, response));
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return Object.assign(fake, { directory: `https://127.0.0.1:${(server.address() as AddressInfo).port}/dir` });
}
