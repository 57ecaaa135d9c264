// Rows S: bytes that two parsers would read as two different requests. Judged by the one refusal, and by nothing that follows it.
import { badChunks, badExpectations, badLengths, connectTargets, disguisedCodings, hostileTrailers, httpUpgrades, otherCodings } from '../cases.ts';
import type { Field as Line } from '../h2-raw.ts';
import { nowhere, refused, refusedH1, shown, smuggled, told, type Field, type Judge, type Probe } from '../probe.ts';

/** A POST to nowhere with the lines after Host, and what follows its head. */
function post({ range }: Field, lines: readonly string[], rest: string, start = `POST ${nowhere} HTTP/1.1`): string {
  return `${start}\r\nHost: ${range.authority}\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n${rest}`;
}

async function refuseAll(
  field: Field,
  judge: Judge,
  cases: readonly (readonly string[])[],
  rest: string,
  statuses: readonly number[],
): Promise<void> {
  for (const lines of cases) await refusedH1(judge, field.range, post(field, lines, rest), statuses, lines.join(' | '));
}

function plainH2({ range }: Field): readonly Line[] {
  return [
    [':method', 'POST'],
    [':scheme', 'https'],
    [':path', nowhere],
    [':authority', range.authority],
  ];
}

export const framingProbes: readonly Probe[] = [
  {
    id: 'S-1',
    what: 'lengths that are not one plain number, or stand beside a coding',
    async run(field, judge) {
      const cases = [
        ...badLengths.map((length) => [`Content-Length: ${length}`]),
        ['Content-Length: 5', 'Transfer-Encoding: chunked'],
        ['Transfer-Encoding: chunked', 'Content-Length: 0'],
        ['Content-Length: 5', 'Content-Length: 5'],
        ['Content-Length: 0', 'content-length: 5'],
      ];
      await refuseAll(field, judge, cases, `0\r\n\r\n${smuggled(field.range)}`, [400, 501]);
    },
  },
  {
    id: 'S-2',
    what: 'codings in disguise',
    async run(field, judge) {
      const cases = [
        ...disguisedCodings.map((coding) => [`Transfer-Encoding: ${coding}`]),
        ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'],
        ['Transfer-Encoding : chunked'],
        ['X: y\r\n Transfer-Encoding: chunked'],
        ['Transfer-Encoding:\r\n chunked'],
      ];
      await refuseAll(field, judge, cases, `0\r\n\r\n${smuggled(field.range)}`, [400, 501]);
    },
  },
  {
    id: 'S-3',
    what: 'codings other than chunked, and any on HTTP/1.0',
    async run(field, judge) {
      const cases = otherCodings.map((coding) => [`Transfer-Encoding: ${coding}, chunked`]);
      await refuseAll(field, judge, cases, `0\r\n\r\n${smuggled(field.range)}`, [400, 501]);
      const old = post(field, ['Transfer-Encoding: chunked'], `0\r\n\r\n${smuggled(field.range)}`, `POST ${nowhere} HTTP/1.0`);
      await refusedH1(judge, field.range, old, [400, 501], 'HTTP/1.0 with Transfer-Encoding');
    },
  },
  {
    id: 'S-5',
    what: 'bytes that some parser takes for the end of a line',
    async run(field, judge) {
      const cases = [
        'X-A: b\nX-C: d',
        'X-A: b\rX-C: d',
        'X-A: b\r\n folded',
        'X-A : b',
        'X-A: b\0c',
        ' X-A: b',
        'X-A: b\r\r\nX-C: d',
        '\rX-A: b',
        '\nX-A: b',
      ];
      await refuseAll(
        field,
        judge,
        cases.map((line) => [line, 'Content-Length: 0']),
        smuggled(field.range),
        [400],
      );
    },
  },
  {
    id: 'S-6',
    what: 'chunks that are none',
    async run(field, judge) {
      // Who has to sign in first may be told so before the body is looked at: then the connection ends with that.
      const { guarded, door } = field.baseline;
      const statuses = guarded ? [400, door['HTTP/1.1'] ?? 400] : [400];
      for (const chunk of badChunks) {
        const bytes = post(field, ['Transfer-Encoding: chunked'], chunk + smuggled(field.range));
        await refusedH1(judge, field.range, bytes, statuses, chunk);
      }
    },
  },
  {
    id: 'S-7',
    what: 'trailers that would be fields',
    async run({ range, echo }, judge) {
      if (echo === undefined) return judge.pass('needs --echo, a path that tells what it received');
      const pass = echo.authorization === undefined ? '' : `Authorization: ${echo.authorization}\r\n`;
      for (const name of hostileTrailers) {
        const head = `POST ${echo.path} HTTP/1.1\r\nHost: ${range.authority}\r\n${pass}Transfer-Encoding: chunked\r\n\r\n`;
        const got = await range.h1(`${head}3\r\nabc\r\n0\r\n${name}: meshgate-forged\r\n\r\n`);
        judge.check(!got.body.includes('meshgate-forged') && got.answers <= 1, `a trailer ${name} came through as a field`);
      }
    },
  },
  {
    id: 'S-9',
    what: 'expectations that are none',
    async run(field, judge) {
      const cases = badExpectations.map((values) => [...values.map((value) => `Expect: ${value}`), 'Content-Length: 3']);
      await refuseAll(field, judge, cases, `abc${smuggled(field.range)}`, [417, 400]);
    },
  },
  {
    id: 'S-11',
    what: 'what HTTP/2 could carry into a line of HTTP/1.1',
    async run(field, judge) {
      const plain = plainH2(field);
      const put = (name: string, value: string): readonly Line[] => plain.map((line) => (line[0] === name ? [name, value] : line));
      const cases: readonly (readonly Line[])[] = [
        put(':path', `${nowhere}\r\nX: y`),
        put(':path', `${nowhere} HTTP/1.1\r\n\r\n${smuggled(field.range)}`),
        put(':path', `${nowhere} b`),
        put(':path', ''),
        put(':method', 'POST\r\nX: y'),
        put(':method', 'GET /x HTTP/1.1'),
        put(':authority', `${field.range.authority}\r\nX: y`),
        [...plain, [':path', '/twice']],
        [...plain, [':unknown', 'x']],
        [['x-first', '1'], ...plain],
        [...plain, ['content-length', '+3']],
        [...plain, ['content-length', '3'], ['content-length', '3']],
        [...plain, ['content-length', '7']],
        [...plain, ['host', 'other.invalid']],
        plain.filter(([name]) => name !== ':path'),
        plain.filter(([name]) => name !== ':method'),
      ];
      for (const fields of cases) {
        const got = await field.range.h2(fields, 'abc');
        if (got === undefined) return judge.pass('the port does not speak HTTP/2');
        refused(judge, [got], [0, 400, 413, 421, 501], JSON.stringify(fields.slice(-2)));
      }
    },
  },
  {
    id: 'S-12',
    what: 'upgrades to HTTP',
    async run({ range }, judge) {
      for (const protocol of httpUpgrades) {
        const fields = `Upgrade: ${protocol}\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n`;
        const got = await range.h1(`GET ${nowhere} HTTP/1.1\r\nHost: ${range.authority}\r\n${fields}\r\n`);
        judge.check(got.status !== 101 && got.status !== 0, `Upgrade: ${protocol}: ${told(got)}`);
      }
      const got = await range.h1('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0');
      judge.check([0, 400, 405, 505].includes(got.status) && got.ended, `the preface of HTTP/2 on HTTP/1.1: ${told(got)}`);
    },
  },
  {
    id: 'S-14',
    what: 'upgrades with a body',
    async run(field, judge) {
      const upgrade = ['Upgrade: websocket', 'Connection: upgrade'];
      await refuseAll(field, judge, [[...upgrade, 'Content-Length: 5']], `abcde${smuggled(field.range)}`, [400]);
      await refuseAll(field, judge, [[...upgrade, 'Transfer-Encoding: chunked']], `5\r\nabcde\r\n0\r\n\r\n${smuggled(field.range)}`, [400]);
    },
  },
  {
    id: 'S-15',
    what: 'CONNECT',
    async run({ range }, judge) {
      for (const target of connectTargets) {
        const head = `CONNECT ${target} HTTP/1.1\r\nHost: ${range.authority}\r\n\r\n`;
        await refusedH1(judge, range, head + smuggled(range), [400, 405], `CONNECT ${target}`);
        const got = await range.h2([
          [':method', 'CONNECT'],
          [':authority', target],
        ]);
        if (got !== undefined) judge.check([0, 400, 405, 421].includes(got.status), `${shown(target)}: ${told(got)}`);
      }
    },
  },
];
