// Rows R, C and W as far as they show from outside: where a visitor is sent, what its cookies are like, and upgrades without a session.
import type { Field as Line } from '../h2-raw.ts';
import { nowhere, sameDoor, told, type Field, type Judge, type Probe } from '../probe.ts';

const browser: Line = ['Accept', 'text/html'];

/** The values of a field in the head of an answer. */
function values(head: string, name: string): readonly string[] {
  return [...head.matchAll(new RegExp(`^${name}: ?(.*?)\\r$`, 'gim'))].map((match) => match[1] ?? '');
}

/** No answer may lead to a host that the plain visit does not lead to. */
async function staysHome(
  field: Field,
  judge: Judge,
  asks: readonly { readonly target?: string; readonly fields?: readonly Line[] }[],
): Promise<void> {
  const { range, baseline } = field;
  const here = `https://${range.authority}/`;
  const usual = new Set([new URL(here).host, ...values(baseline.browserHead, 'location').map((to) => new URL(to, here).host)]);
  for (const { target = '/', fields = [] } of asks) {
    const lines = [browser, ...fields].map(([name, value]) => `${name}: ${value}\r\n`).join('');
    const got = await range.h1(`GET ${target} HTTP/1.1\r\nHost: ${range.authority}\r\n${lines}Connection: close\r\n\r\n`);
    for (const to of values(got.head, 'location')) {
      const url = URL.parse(to, here);
      judge.check(url !== null && /^https?:$/.test(url.protocol) && usual.has(url.host), `${target} leads to ${to}`);
    }
    // A refusal, or a page of the application, leads nowhere.
    judge.check(got.status !== 0, `${target}: ${told(got)}`);
  }
}

/** The gateway's own page: of a host that is not here. */
async function ownPage({ range }: Field): Promise<string> {
  return (await range.h1('GET / HTTP/1.1\r\nHost: other.invalid\r\nAccept: text/html\r\nConnection: close\r\n\r\n')).head;
}

export const sessionProbes: readonly Probe[] = [
  {
    id: 'R-1',
    what: 'addresses that lead away',
    run: (field, judge) =>
      staysHome(
        field,
        judge,
        [
          '//other.invalid/',
          '/\\other.invalid',
          '/%09/other.invalid',
          '/.//other.invalid',
          '///other.invalid',
          '/?return=https://other.invalid/',
          '/?rd=//other.invalid',
          '/;//other.invalid',
          '/%2f%2fother.invalid',
        ].map((target) => ({ target })),
      ),
  },
  {
    id: 'R-2',
    what: 'hosts that contain ours',
    run: (field, judge) =>
      staysHome(
        field,
        judge,
        ['.other.invalid/', '@other.invalid/', '%40other.invalid/', '\\@other.invalid'].flatMap((after) => [
          { target: `//${field.range.target.host}${after}` },
          { target: `/?return=https://${field.range.target.host}${after}` },
        ]),
      ),
  },
  {
    id: 'R-4',
    what: 'hostile hosts in redirects',
    run: (field, judge) =>
      staysHome(field, judge, [
        { fields: [['X-Forwarded-Host', 'other.invalid']] },
        { fields: [['X-Forwarded-Port', '1']] },
        { fields: [['Forwarded', 'host=other.invalid;proto=http']] },
        { fields: [['X-Original-Host', 'other.invalid']] },
        { fields: [['X-Host', 'other.invalid']] },
      ]),
  },
  {
    id: 'C-1',
    what: 'cookies of the way to the sign-in',
    async run({ baseline }, judge) {
      if (!baseline.guarded) return judge.pass('the service is open to everybody');
      for (const cookie of values(baseline.browserHead, 'set-cookie')) {
        const [name = ''] = cookie.split('=');
        const right = ['secure', 'httponly', 'path=/', 'samesite=lax'].every((word) => cookie.toLowerCase().split(/; ?/).includes(word));
        const strict = /; ?samesite=strict(?:;|$)/i.test(cookie) && /; ?secure(?:;|$)/i.test(cookie) && /; ?httponly(?:;|$)/i.test(cookie);
        judge.check(name.startsWith('__Host-') && (right || strict) && !/; ?domain=/i.test(cookie), `the attributes of ${name}`);
      }
      judge.pass('no cookie is set before the sign-in');
    },
  },
  {
    id: 'C-4',
    what: 'cookies of no session',
    async run({ range, baseline }, judge) {
      if (!baseline.guarded) return judge.pass('the service is open to everybody');
      for (const value of ['__Host-meshgate=meshgate-forged', '__Host-meshgate=', '__Host-meshgate=a; __Host-meshgate=b', 'meshgate=1; admin=1'])
        sameDoor(judge, baseline, await range.both({ fields: [['Cookie', value]] }), value);
    },
  },
  {
    id: 'C-10',
    what: 'the gateway’s pages in a frame',
    async run(field, judge) {
      const policy = values(await ownPage(field), 'content-security-policy').join(';');
      judge.check(/frame-ancestors 'none'/.test(policy), `Content-Security-Policy: ${policy}`);
    },
  },
  {
    id: 'C-11',
    what: 'the gateway’s answers in a cache',
    async run(field, judge) {
      const heads = [await ownPage(field), ...(field.baseline.guarded ? [field.baseline.browserHead] : [])];
      for (const head of heads) judge.check(/no-store/.test(values(head, 'cache-control').join()), head.slice(0, head.indexOf('\r\n')));
    },
  },
  {
    id: 'W-1',
    what: 'upgrades without a session',
    async run({ range, baseline }, judge) {
      if (!baseline.guarded) return judge.pass('the service is open to everybody');
      const upgrade = 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';
      for (const target of ['/', nowhere]) {
        const got = await range.h1(`GET ${target} HTTP/1.1\r\nHost: ${range.authority}\r\n${upgrade}\r\n`);
        judge.check([401, 403].includes(got.status), `${target}: ${told(got)}`);
      }
    },
  },
];
