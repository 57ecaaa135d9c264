// The schema: every issue with its path, defaults in one place, frozen results, unknown keys named, nothing reaches a prototype.
import t from 'tap';
import {
  boolean,
  convert,
  duration,
  formatDuration,
  type Infer,
  integer,
  list,
  maxIssues,
  object,
  oneOf,
  optional,
  parse,
  parseDuration,
  parseOrThrow,
  record,
  string,
  union,
} from '#lib/schema.ts';
import { formatIssue, issuesOf } from '#lib/schema-errors.ts';

const target = object({ host: string({ max: 20 }), port: integer({ min: 1, max: 65_535 }), path: string({ default: '/' }) });
const schema = object({
  name: string(),
  mode: oneOf(['http', 'tcp'], { default: 'http' }),
  enabled: boolean({ default: true }),
  targets: list(target, { default: [], max: 3 }),
  labels: record(string(), { default: {} }),
  timeout: optional(duration({ maxMs: 60_000 })),
  limits: object({ rate: integer({ default: 10 }), burst: integer({ default: 20 }) }),
});

type Value = Infer<typeof schema>;

function issues(input: unknown): readonly string[] {
  const parsed = parse(schema, input);
  return parsed.ok ? [] : parsed.issues.map(formatIssue);
}

t.test('reads a value with its defaults', async (t) => {
  const value: Value = parseOrThrow(schema, { name: 'a', targets: [{ host: 'h', port: 1 }], timeout: '1.5s' });
  t.same(value, {
    name: 'a',
    mode: 'http',
    enabled: true,
    targets: [{ host: 'h', port: 1, path: '/' }],
    labels: {},
    timeout: 1500,
    limits: { rate: 10, burst: 20 },
  });
});

t.test('the result is frozen all the way down', async (t) => {
  const value = parseOrThrow(schema, { name: 'a', targets: [{ host: 'h', port: 1 }], labels: { a: 'b' } });
  for (const part of [value, value.targets, value.targets[0], value.labels, value.limits]) t.ok(Object.isFrozen(part));
});

t.test('tells every issue, each with its path', async (t) => {
  t.same(
    issues({
      mode: 'htpp',
      enabled: 'yes',
      targets: [{ host: '', port: 0 }, { host: 'h' }, 7],
      labels: { 'a b': 1 },
      timeout: '2m',
      limits: { rate: 1.5 },
    }),
    [
      'name is missing',
      'mode must be one of http, tcp; did you mean http?',
      'enabled must be true or false',
      'targets[0].host must not be empty',
      'targets[0].port must be an integer from 1 to 65535',
      'targets[1].port is missing',
      'targets[2] must be an object',
      'labels["a b"] must be a string',
      'timeout must be from 0s to 1m',
      'limits.rate must be an integer of at least 0',
    ],
  );
  t.same(issues([]), ['the value must be an object']);
  t.same(issues('x'), ['the value must be an object']);
});

t.test('names unknown keys and the key that was probably meant', async (t) => {
  t.same(issues({ name: 'a', enabeld: true, limits: { brust: 1 }, zzz: 1 }), [
    'enabeld is not known; did you mean enabled?',
    'zzz is not known',
    'limits.brust is not known; did you mean burst?',
  ]);
});

t.test('null is absent where absence is allowed, and missing where it is not', async (t) => {
  t.same(issues({ name: 'a', targets: null, timeout: null, limits: null }), []);
  t.same(issues({ name: null }), ['name is missing']);
});

t.test('lists, maps, texts and numbers have limits', async (t) => {
  t.same(issues({ name: 'x'.repeat(4097) }), ['name must have at most 4096 characters']);
  t.same(issues({ name: 'a', targets: Array.from({ length: 4 }, () => ({ host: 'h', port: 1 })) }), ['targets must have 0 to 3 entries']);
  t.same(issues({ name: 'a', labels: Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`k${i}`, 'v'])) }), [
    'labels must have 0 to 1000 entries',
  ]);
  t.same(issues({ name: 'a', limits: { rate: Number.NaN, burst: Infinity } }).length, 2);
});

t.test('the list of issues ends somewhere', async (t) => {
  const parsed = parse(schema, Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`k${i}`, 1])));
  t.equal(parsed.ok ? 0 : parsed.issues.length, maxIssues);
});

t.test('row M-10: no key of the input reaches a prototype', async (t) => {
  const hostile = JSON.parse('{"name":"a","__proto__":{"enabled":false},"labels":{"__proto__":"x","constructor":"y"}}') as unknown;
  t.same(issues(hostile), ['__proto__ is not known']);
  const labels = parseOrThrow(record(string()), JSON.parse('{"__proto__":"x"}'));
  t.equal(Object.getPrototypeOf(labels), Object.prototype);
  t.same(Object.entries(labels), [['__proto__', 'x']]);
  t.equal(Object.getOwnPropertyDescriptor(Object.prototype, 'enabled'), undefined);
  t.same(issues(JSON.parse('{"__proto__":{"name":"inherited"}}')), ['__proto__ is not known', 'name is missing']);
});

t.test('a long or odd key is quoted and cut in a path', async (t) => {
  t.same(issues({ name: 'a', ['k'.repeat(500)]: 1 }), [`["${'k'.repeat(64)}"] is not known`]);
});

t.test('a union takes the first that fits, and explains the one of the right kind', async (t) => {
  const either = union([integer({ max: 9 }), object({ a: integer() }), list(string())]);
  t.same(parse(either, 3), { ok: true, value: 3 });
  t.same(parse(either, { a: 1 }), { ok: true, value: { a: 1 } });
  t.same(parse(either, { a: 'x' }), { ok: false, issues: [{ path: 'a', message: 'must be an integer of at least 0' }] });
  t.same(parse(either, true), { ok: false, issues: [{ path: '', message: 'must be integer 0–9 or object or list of string' }] });
});

t.test('a conversion turns the value, or refuses it', async (t) => {
  const even = convert(integer({ default: 4 }), (value, refuse) => (value % 2 === 0 ? value / 2 : refuse('must be even')));
  t.same(parse(even, undefined), { ok: true, value: 2 });
  t.same(parse(even, 3), { ok: false, issues: [{ path: '', message: 'must be even' }] });
  t.same(parse(even, 'x'), { ok: false, issues: [{ path: '', message: 'must be an integer of at least 0' }] });
  t.same(parse(optional(even), null), { ok: true, value: undefined });
});

t.test('an error carries its issues and never a value', async (t) => {
  const secret = object({ pin: string({ pattern: /^[0-9]+$/, hint: 'must be digits' }) });
  try {
    parseOrThrow(secret, { pin: 'hunter2' });
    t.fail('accepted');
  } catch (error) {
    t.match(error, { code: 'LIB_INPUT_INVALID', detail: 'pin must be digits', row: { status: 422 } });
    t.same(issuesOf(error), [{ path: 'pin', message: 'must be digits' }]);
  }
  t.same(issuesOf(new Error('other')), []);
});

t.test('durations read and write', async (t) => {
  const known: Record<string, number> = { '0': 0, '300ms': 300, '1.5h': 5_400_000, '1m30s': 90_000, '2d': 172_800_000, '1500us': 1.5 };
  for (const [text, ms] of Object.entries(known)) t.equal(parseDuration(text), ms, text);
  for (const text of ['', '5', 's', '1 s', '-1s', '1s2', '1e3s', 'NaN', '1s'.repeat(9)]) t.equal(parseDuration(text), undefined, text);
  t.same([0, 250, 1000, 90_000, 3_600_000, 172_800_000].map(formatDuration), ['0s', '250ms', '1s', '90s', '1h', '48h']);
  for (const ms of [0, 1, 999, 1000, 61_000, 7_200_000]) t.equal(parseDuration(formatDuration(ms)), ms);
});
