// Rows P: targets that are no plain path, and methods that are never forwarded.
import { fragmentTargets, pathlessTargets } from '../cases.ts';
import { nowhere, refused, type Probe } from '../probe.ts';

export const pathProbes: readonly Probe[] = [
  {
    id: 'P-10',
    what: 'raw fragments',
    async run({ range }, judge) {
      for (const target of fragmentTargets) refused(judge, await range.both({ target }), [0, 400], target);
    },
  },
  {
    id: 'P-14',
    what: 'absolute-form that names another host',
    async run({ range }, judge) {
      for (const other of ['other.invalid', `${range.target.host}.other.invalid`, `other@${range.target.host}`, '', `x${range.target.host}`]) {
        const target = `http://${other}/`;
        const bytes = `GET ${target} HTTP/1.1\r\nHost: ${range.authority}\r\nConnection: close\r\n\r\n`;
        refused(judge, [await range.h1(bytes)], [400, 421], target);
      }
    },
  },
  {
    id: 'P-15',
    what: 'targets that are no path',
    async run({ range }, judge) {
      for (const target of pathlessTargets) refused(judge, await range.both({ target }), target === '*' ? [0, 400, 405] : [0, 400], target);
      refused(judge, [await range.h1(`GET  HTTP/1.1\r\nHost: ${range.authority}\r\n\r\n`)], [400], 'an empty target');
    },
  },
  {
    id: 'P-17',
    what: 'odd bytes of honest applications, unchanged',
    async run({ range, echo }, judge) {
      if (echo === undefined) return judge.pass('needs --echo, a path that tells what it received');
      const authorization = echo.authorization;
      for (const odd of ['a%2fb', 'a%2Fb//c', 'x;y=1', '%zz', '%E2%82%AC', 'a/../b', '|^`', '%20+%20']) {
        const fields = authorization === undefined ? [] : [['Authorization', authorization] as const];
        for (const { body, variant } of await range.both({ target: `${echo.path}?meshgate=${odd}`, fields }))
          judge.check(body.includes(`meshgate=${odd}`), `${variant}: ${odd} is not told as it was sent`);
      }
    },
  },
  {
    id: 'P-19',
    what: 'methods that are never forwarded',
    async run({ range }, judge) {
      for (const method of ['TRACE', 'TRACK']) refused(judge, await range.both({ method, target: nowhere }), [405], method);
      for (const method of ['get', 'Get', 'G=T', '-GET']) refused(judge, await range.both({ method, target: nowhere }), [0, 400], method);
    },
  },
];
