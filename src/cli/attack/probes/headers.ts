// Rows H: what a stranger says of itself. At a guarded service it must not open the door; with an echo it must not arrive.
import { connect as connectTls } from 'node:tls';
import { answerMs } from '../constants.ts';
import { foreignIdentityFields } from '../cases.ts';
import type { Field as Line } from '../h2-raw.ts';
import { refused, sameDoor, type Field, type Judge, type Probe } from '../probe.ts';

const ownNames = ['X-Meshgate-User', 'X-Meshgate-Email', 'X-Meshgate-Name', 'X-Meshgate-Groups', 'X-Meshgate-Assertion'];
const names = [...ownNames, ...foreignIdentityFields];
const forged = 'meshgate-forged';
const forwarding: readonly Line[] = [
  ['X-Forwarded-For', '203.0.113.7'],
  ['X-Forwarded-Host', 'other.invalid'],
  ['X-Forwarded-Proto', 'http'],
  ['X-Forwarded-Port', '1'],
  ['X-Forwarded-Prefix', '/meshgate-forged'],
  ['X-Forwarded-Uri', '/meshgate-forged'],
  ['X-Real-IP', '203.0.113.7'],
  ['Forwarded', 'for=203.0.113.7;host=other.invalid'],
  ['X-Original-URL', '/meshgate-forged'],
  ['X-Rewrite-URL', '/meshgate-forged'],
  ['CF-Connecting-IP', '203.0.113.7'],
  ['True-Client-IP', '203.0.113.7'],
];

/** Sends each list of fields to the door, and to the echo: the first has to stay as it is, and the second to tell nothing of `marks`. */
async function claim(field: Field, judge: Judge, lists: readonly (readonly Line[])[], marks: readonly string[]): Promise<void> {
  const { range, baseline, echo } = field;
  if (!baseline.guarded && echo === undefined)
    return judge.pass('the service is open to everybody: needs --echo, a path that tells what it received');
  for (const fields of lists) {
    const what = fields.map(([name, value]) => `${name}: ${value}`).join(' | ');
    if (baseline.guarded) sameDoor(judge, baseline, await range.both({ fields }), what);
    if (echo === undefined) continue;
    const pass: readonly Line[] = echo.authorization === undefined ? [] : [['Authorization', echo.authorization]];
    for (const { variant, body } of await range.both({ target: echo.path, fields: [...pass, ...fields] }))
      judge.check(!marks.some((mark) => body.includes(mark)), `${variant}: ${what} came through`);
  }
}

export const headerProbes: readonly Probe[] = [
  {
    id: 'H-1',
    what: 'names that only the gateway may say',
    run: (field, judge) =>
      claim(
        field,
        judge,
        names.map((name) => [[name, forged]]),
        [forged],
      ),
  },
  {
    id: 'H-2',
    what: 'the same with `_`',
    run: (field, judge) =>
      claim(
        field,
        judge,
        names.map((name) => [[name.replaceAll('-', '_'), forged]]),
        [forged],
      ),
  },
  {
    id: 'H-3',
    what: 'the same with `.` and `~`',
    run: (field, judge) =>
      claim(
        field,
        judge,
        ['.', '~'].flatMap((mark) => names.map((name): readonly Line[] => [[name.replaceAll('-', mark), forged]])),
        [forged],
      ),
  },
  {
    id: 'H-8',
    what: '`Connection` naming our fields',
    run: (field, judge) =>
      claim(
        field,
        judge,
        names.map((name) => [
          ['Connection', `close, ${name}, X-Forwarded-For`],
          [name, forged],
        ]),
        [forged],
      ),
  },
  {
    id: 'H-10',
    what: 'forwarding fields of strangers',
    run: (field, judge) => claim(field, judge, [forwarding, ...forwarding.map((line) => [line])], ['203.0.113.7', 'other.invalid', forged]),
  },
  {
    id: 'H-14',
    what: 'PROXY headers of strangers',
    async run({ range }, judge) {
      const { host, ca } = range.target;
      for (const header of [
        'PROXY TCP4 203.0.113.7 192.0.2.1 1 443\r\n',
        '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\0\x01\x01\xbb',
      ]) {
        const socket = await range.tcp();
        socket.write(header, 'latin1');
        const done = await new Promise<boolean>((resolve) => {
          const tls = connectTls({ socket, servername: host, ...(ca === undefined ? {} : { ca }) });
          const timer = setTimeout(() => resolve(false), answerMs);
          const end = (shaken: boolean): void => {
            clearTimeout(timer);
            resolve(shaken);
          };
          tls.once('secureConnect', () => end(true));
          tls.on('error', () => end(false));
          socket.once('close', () => end(false));
        });
        socket.destroy();
        judge.check(!done, `a header of version ${header.startsWith('PROXY') ? 1 : 2} from here was taken`);
      }
    },
  },
  {
    id: 'H-15',
    what: 'health checkers by name',
    run: (field, judge) =>
      claim(
        field,
        judge,
        ['GoogleHC/1.0', 'kube-probe/1.30', 'ELB-HealthChecker/2.0', 'Meshgate'].map((agent) => [['User-Agent', agent]]),
        [],
      ),
  },
  {
    id: 'H-16',
    what: 'assertions that are not the gateway’s',
    run: (field, judge) =>
      claim(
        field,
        judge,
        ownNames.slice(-1).flatMap((name) => [[[name, 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZXNoZ2F0ZS1mb3JnZWQifQ.']], [[name, forged]]] as const),
        ['eyJhbGciOiJub25lIn0', forged],
      ),
  },
  {
    id: 'H-17',
    what: 'two `Authorization` fields',
    async run({ range }, judge) {
      const fields: readonly Line[] = [
        ['Authorization', 'Basic bWVzaGdhdGU6YXR0YWNr'],
        ['Authorization', 'Bearer meshgate-attack'],
      ];
      refused(judge, await range.both({ fields }), [0, 400], 'two schemes');
    },
  },
  {
    id: 'H-20',
    what: 'our credentials going upstream',
    async run({ range, echo }, judge) {
      if (echo?.authorization === undefined) return judge.pass('needs --echo and --token-file');
      const { authorization } = echo;
      const secret = authorization.slice(authorization.indexOf(' ') + 1);
      const fields: readonly Line[] = [['Authorization', authorization]];
      for (const { variant, body } of await range.both({ target: echo.path, fields }))
        judge.check(!body.includes(secret), `${variant}: the upstream was told the token`);
    },
  },
];
