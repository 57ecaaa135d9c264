// Rows T: which host is meant, in TLS and in the request, and what TLS does not do.
import type { ConnectionOptions } from 'node:tls';
import { describeError } from '#lib/errors.ts';
import { oldTls } from '../cases.ts';
import { nowhere, refused, sameDoor, shown, type Probe } from '../probe.ts';
import type { Range } from '../range.ts';

/** Why no handshake came about; undefined where it did. */
async function handshake(range: Range, options: ConnectionOptions): Promise<string | undefined> {
  try {
    (await range.tls(options)).destroy();
    return undefined;
  } catch (error) {
    return describeError(error);
  }
}

export const hostProbes: readonly Probe[] = [
  {
    id: 'T-2',
    what: 'another host than TLS named',
    async run({ range }, judge) {
      for (const host of ['other.invalid', `${range.target.host}.other.invalid`, `x${range.target.host}`]) {
        refused(judge, await range.both({ host }), [421], `Host: ${host}`);
      }
    },
  },
  {
    id: 'T-3',
    what: 'spellings of server names',
    async run({ range }, judge) {
      const problem = await handshake(range, { servername: range.target.host.toUpperCase() });
      judge.check(problem === undefined, `in capitals: ${problem ?? ''}`);
      for (const servername of ['other.invalid', `${range.target.host}.other.invalid`, 'xn--a.invalid']) {
        // Whatever certificate it would be: for a name that is not published there is none.
        judge.check((await handshake(range, { servername, rejectUnauthorized: false })) !== undefined, `${servername} was shaken hands with`);
      }
    },
  },
  {
    id: 'T-5',
    what: 'spellings of the host',
    async run({ range, baseline }, judge) {
      const { host, port } = range.target;
      for (const spelled of [host.toUpperCase(), `${host}.`, `${host}:${port}`, `${host.toUpperCase()}.:${port}`]) {
        sameDoor(judge, baseline, await range.both({ host: spelled }), spelled);
      }
      for (const port of ['65536', '-1', 'x', '443:443', '4 3']) refused(judge, await range.both({ host: `${host}:${port}` }), [0, 400], port);
    },
  },
  {
    id: 'T-6',
    what: 'Host that is not one host',
    async run({ range }, judge) {
      const { host } = range.target;
      const lists = [
        [host, host],
        [host, 'other.invalid'],
        [''],
        [`${host}/x@other.invalid`],
        [`x@${host}`],
        [`${host} other.invalid`],
        [`${host},other.invalid`],
        [`${host}%00`],
        ['[::1'],
      ];
      for (const hosts of lists) {
        const lines = hosts.map((name) => `Host: ${name}\r\n`).join('');
        refused(judge, [await range.h1(`GET ${nowhere} HTTP/1.1\r\n${lines}Connection: close\r\n\r\n`)], [400], hosts.join(' | '));
      }
      refused(judge, [await range.h1(`GET ${nowhere} HTTP/1.1\r\nConnection: close\r\n\r\n`)], [400], 'no Host');
    },
  },
  {
    id: 'T-13',
    what: '`acme-tls/1` without a live challenge',
    async run({ range }, judge) {
      judge.check((await handshake(range, { ALPNProtocols: ['acme-tls/1'], rejectUnauthorized: false })) !== undefined, 'was shaken hands with');
    },
  },
  {
    id: 'T-14',
    what: 'challenge paths with foreign tokens',
    async run({ range }, judge) {
      const usual = await range.both({ target: nowhere });
      const challenge = await range.both({ target: '/.well-known/acme-challenge/meshgate-attack-0123456789abcdefghij' });
      for (const [i, got] of challenge.entries()) {
        const { status, variant } = usual[i] ?? { status: 0, variant: got.variant };
        judge.check(got.status === status, `${variant}: ${got.status}, other paths ${status}`);
      }
    },
  },
  {
    id: 'T-16',
    what: 'old versions and weak suites',
    async run({ range }, judge) {
      for (const options of oldTls) {
        judge.check(
          (await handshake(range, { ...options, rejectUnauthorized: false })) !== undefined,
          shown(`${options.maxVersion} ${options.ciphers}`),
        );
      }
    },
  },
];
