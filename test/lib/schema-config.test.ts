// Configuration: four sources in their order, messages that name the place to change, and a reference written from the schema.
import t from 'tap';
import { exampleJson, settingsTable } from '#lib/schema-docs.ts';
import { loadConfig, settingsOf } from '#lib/schema-config.ts';
import { issuesOf } from '#lib/schema-errors.ts';
import { boolean, duration, integer, list, object, oneOf, optional, parse, record, string } from '#lib/schema.ts';

const schema = object({
  listen: string({ default: ':443', about: 'address and port | where it listens' }),
  token: string({ secret: true, about: 'proves who we are' }),
  level: oneOf(['debug', 'info'], { default: 'info' }),
  workers: integer({ default: 1, min: 1, max: 64 }),
  compress: boolean({ default: false }),
  origins: list(string(), { default: [] }),
  tls: object({ certificateDir: string({ default: 'certs' }), grace: duration({ default: '30s' }) }),
  services: list(object({ name: string({ about: 'its name' }), port: integer() }), { default: [] }),
  headers: record(string(), { default: {} }),
  region: optional(string({ example: 'eu' })),
});

const env = { MESHGATE_T_TOKEN: 't' };

function refusal(sources: Parameters<typeof loadConfig>[2]): readonly string[] {
  try {
    loadConfig(schema, 'MESHGATE_T', sources);
    return [];
  } catch (error) {
    return issuesOf(error).map((issue) => `${issue.path} ${issue.message}`);
  }
}

t.test('defaults < file < environment < flags', async (t) => {
  const file = { name: 'c.json', value: { listen: 'file', level: 'debug', workers: 2, tls: { grace: '5s' } } };
  t.equal(loadConfig(schema, 'MESHGATE_T', { env }).value.listen, ':443');
  const fromFile = loadConfig(schema, 'MESHGATE_T', { env, file }).value;
  t.match(fromFile, { listen: 'file', level: 'debug', workers: 2, tls: { grace: 5000, certificateDir: 'certs' } });
  const withEnv = { ...env, MESHGATE_T_LISTEN: 'env', MESHGATE_T_TLS_CERTIFICATE_DIR: 'x', MESHGATE_T_WORKERS: '3' };
  t.match(loadConfig(schema, 'MESHGATE_T', { env: withEnv, file }).value, { listen: 'env', workers: 3, tls: { certificateDir: 'x', grace: 5000 } });
  const flags = { listen: 'flag', 'tls-certificate-dir': 'y' };
  t.match(loadConfig(schema, 'MESHGATE_T', { env: withEnv, file, flags }).value, { listen: 'flag', workers: 3, tls: { certificateDir: 'y' } });
  t.match(file.value, { listen: 'file', tls: { grace: '5s' } }, 'the file value itself is untouched');
});

t.test('texts become numbers, booleans, lists and objects by the schema', async (t) => {
  const { value } = loadConfig(schema, 'MESHGATE_T', {
    env: {
      ...env,
      MESHGATE_T_COMPRESS: 'yes',
      MESHGATE_T_ORIGINS: 'a, b',
      MESHGATE_T_SERVICES: '[{"name":"n","port":1}]',
      MESHGATE_T_HEADERS: '{"x":"y"}',
      MESHGATE_T_LISTEN: '',
    },
  });
  t.match(value, { compress: true, origins: ['a', 'b'], services: [{ name: 'n', port: 1 }], headers: { x: 'y' }, listen: ':443' });
});

t.test('an issue names the place that has to be changed', async (t) => {
  t.same(
    refusal({
      file: { name: 'c.json', value: { lisen: 'x', workers: 0, tls: { grace: 'soon' } } },
      env: { MESHGATE_T_ORIGINS: '["a",1]', MESHGATE_T_COMPRESS: 'maybe' },
      flags: { level: 'inof' },
    }),
    [
      'c.json: lisen is not known; did you mean listen?',
      'token is missing (in the file, or as MESHGATE_T_TOKEN)',
      '--level must be one of debug, info; did you mean info?',
      'c.json: workers must be an integer from 1 to 64',
      'MESHGATE_T_COMPRESS must be true or false',
      'MESHGATE_T_ORIGINS[1] must be a string',
      'c.json: tls.grace must be a duration such as 300ms, 30s or 1h30m',
    ],
  );
  t.same(refusal({ env, file: { name: 'c.json', value: [] } }), ['c.json must be an object']);
  t.same(refusal({ env: { ...env, MESHGATE_T_TLS_GRACE: '1s' }, file: { name: 'c.json', value: { tls: 5 } } }), ['c.json: tls must be an object']);
});

t.test('a file cannot reach a prototype', async (t) => {
  const value: unknown = JSON.parse('{"__proto__":{"listen":"x"}}');
  t.same(refusal({ env, file: { name: 'c.json', value } }), ['c.json: __proto__ is not known']);
  t.equal(({} as { listen?: string }).listen, undefined);
});

t.test('variables that look like ours are warned about, not refused', async (t) => {
  const { warnings } = loadConfig(schema, 'MESHGATE_T', {
    env: { ...env, MESHGATE_T_LISTN: 'x', MESHGATE_T_PORT_9000_TCP_ADDR: '10.0.0.1', PATH: '/' },
  });
  t.same(warnings, [
    'the environment variable MESHGATE_T_LISTN is not known; did you mean MESHGATE_T_LISTEN?',
    'the environment variable MESHGATE_T_PORT_9000_TCP_ADDR is not known',
  ]);
});

t.test('row L-4: a secret has no flag', async (t) => {
  const settings = settingsOf(schema, 'MESHGATE_T');
  t.equal(settings.find((setting) => setting.path[0] === 'token')?.flag, undefined);
  t.equal(new Set(settings.map((setting) => setting.env)).size, settings.length);
});

t.test('the reference lists every setting once', async (t) => {
  const table = settingsTable(schema, 'MESHGATE_T').split('\n');
  t.equal(table[0], '| Setting | Type | Default | Environment | What it does |');
  t.ok(table.includes('| `listen` | string | `":443"` | `MESHGATE_T_LISTEN` | address and port \\| where it listens |'));
  t.ok(table.includes('| `token` | string | required | `MESHGATE_T_TOKEN` | proves who we are (secret) |'));
  t.ok(table.includes('| `tls.grace` | duration | `"30s"` | `MESHGATE_T_TLS_GRACE` |  |'));
  t.ok(table.includes('| `services[].name` | string | required |  | its name |'));
  t.ok(table.includes('| `region` | string | none | `MESHGATE_T_REGION` |  |'));
  t.equal(table.length, 2 + 13);
});

t.test('the example reads back', async (t) => {
  const example: unknown = JSON.parse(exampleJson(schema));
  t.match(example, { listen: ':443', region: 'eu', tls: { grace: '30s' } });
  t.ok(parse(schema, example).ok);
});
