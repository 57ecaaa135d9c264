// `meshgate policy test`: which access rule decides, without a request; and expectations in a file that a pipeline may hold a policy against.
import { isPlainObject, integer, list, object, oneOf, optional, parseOrThrow, record, string, type Infer } from '#lib/schema.ts';
import { parseIp } from '#lib/ip.ts';
import type { loadPolicyTrials } from '#gateway/index.ts';
import { type ApiClient, openApi } from '../api-client.ts';
import { apiFlags, asRows, find } from '../api-command.ts';
import type { Command, Input } from '../command.ts';
import { findCredentials } from '../credentials.ts';
import { cliError } from '../errors.ts';
import { readJsonFile } from '../files.ts';
import type { Io } from '../io.ts';
import { clean, field, printJson } from '../output.ts';

type Trials = ReturnType<Awaited<ReturnType<typeof loadPolicyTrials>>>;
type Trial = Parameters<Trials>[0];
type Caller = NonNullable<Trial['caller']>;
type Result = ReturnType<Trials>;

const outcomes = ['allow', 'bypass', 'ask', 'deny'] as const;

const texts = () => list(string({ max: 320 }), { default: [], max: 200 });

/** One case of a file. */
const caseFields = object({
  name: optional(string({ max: 200 })),
  as: optional(
    object({
      user: string({ max: 320 }),
      email: string({ min: 0, max: 320, default: '' }),
      groups: texts(),
      claims: optional(record(texts())),
      proofs: list(string({ max: 20 }), { default: ['oidc'], max: 10 }),
    }),
  ),
  method: string({ default: 'GET', max: 32 }),
  path: string({ default: '/', max: 8_192 }),
  from: optional(string({ max: 49 })),
  country: optional(string({ max: 2 })),
  network: optional(integer({ min: 1, max: 4_294_967_295 })),
  at: optional(string({ max: 40 })),
  expect: oneOf(outcomes),
  rule: optional(string({ max: 64 })),
});

type Case = Infer<typeof caseFields>;

const flags = {
  service: { kind: 'text', value: 'NAME', about: 'the policy of this service, as the server has it; instead of --file' },
  file: {
    kind: 'text',
    value: 'FILE',
    about: 'a service as JSON, or its parts mode, auth and access; with `cases` and without --path, each of them is tried',
  },
  as: { kind: 'text', value: 'USER', about: 'who has signed in, by name, e-mail or id; left out, nobody has' },
  proof: { kind: 'many', value: 'KIND', about: 'what that one has proven (default oidc); may be given more than once' },
  method: { kind: 'text', value: 'METHOD', about: 'the method (default GET)' },
  path: { kind: 'text', value: 'PATH', about: 'the path, as it would be sent (default /)' },
  from: { kind: 'text', value: 'ADDRESS', about: 'the address; left out, it cannot be told' },
  country: { kind: 'text', value: 'CC', about: 'country of that address; left out, it cannot be told' },
  network: { kind: 'integer', value: 'N', about: 'its AS number; left out, it cannot be told' },
  at: { kind: 'text', value: 'TIME', about: 'when, such as 2026-11-28T12:00:00Z (default now)' },
  ...apiFlags,
} as const;

const policyTest: Command = {
  name: 'policy test',
  summary: 'say which access rule of a service decides, without a request',
  flags,
  async run(input, io) {
    const [service, file] = [input.text('service'), input.text('file')];
    if ((service === undefined) === (file === undefined)) throw cliError('CLI_USAGE', 'either --service or --file is needed');
    // A file alone needs no server, unless it is to say who a user is.
    const api =
      service === undefined && input.text('as') === undefined
        ? undefined
        : await openApi(await findCredentials(io, input.text('api'), input.text('ca')), io.stop);
    try {
      const body = file === undefined ? await serviceBody(api, service ?? '') : await readJsonFile(file);
      if (!isPlainObject(body)) throw cliError('CLI_FILE', 'the file must hold one JSON object');
      const trials = await trialsOf(body);
      if (body['cases'] !== undefined && input.text('path') === undefined) return runCases(trials, readCases(body['cases']), input, io);
      const result = trials(await trialFrom(input, api));
      if (input.on('json')) printJson(io, result);
      else for (const line of told(result)) io.out(clean(line));
      return 0;
    } finally {
      await api?.close();
    }
  },
};

async function trialsOf(body: Readonly<Record<string, unknown>>): Promise<Trials> {
  const [{ readPolicy }, gateway] = [await import('#server/index.ts'), await import('#gateway/index.ts')];
  const { mode, policy } = await readPolicy(body);
  return (await gateway.loadPolicyTrials())(mode, policy);
}

async function serviceBody(api: ApiClient | undefined, name: string): Promise<unknown> {
  if (api === undefined) throw cliError('CLI_USAGE', '--service needs a server');
  const path = '/api/reverse-proxies/services';
  const { id } = await find(api, path, name, ['name', 'domain']);
  return api.call('GET', `${path}/${encodeURIComponent(id)}`);
}

async function trialFrom(input: Input, api: ApiClient | undefined): Promise<Trial> {
  const who = input.text('as');
  return {
    path: input.text('path') ?? '/',
    method: (input.text('method') ?? 'GET').toUpperCase(),
    address: addressOf(input.text('from'), input.text('country') ?? input.integer('network')),
    country: input.text('country')?.toUpperCase(),
    network: input.integer('network'),
    at: timeOf(input.text('at')),
    caller: who === undefined || api === undefined ? undefined : await callerNamed(api, who, input.many('proof')),
  };
}

/** A user of the account, with the groups of now. What an external provider would say at sign-in is not known here. */
async function callerNamed(api: ApiClient, who: string, proofs: readonly string[]): Promise<Caller> {
  const { row } = await find(api, '/api/users', who, ['name', 'email']);
  const groups = isPlainObject(row) ? row['auto_groups'] : [];
  return {
    user: field(row, 'id'),
    email: field(row, 'email'),
    groups: asRows(groups).map(String),
    claims: undefined,
    proofs: proofs.length === 0 ? ['oidc'] : proofs,
  };
}

function readCases(cases: unknown): readonly Case[] {
  return parseOrThrow(list(caseFields, { max: 10_000 }), cases);
}

/** Zero where every case ends as its file says. */
function runCases(trials: Trials, cases: readonly Case[], input: Input, io: Io): number {
  const results = cases.map((each) => {
    const { as: caller, from, country, network, at, method, path } = each;
    const result = trials({
      path,
      method,
      address: addressOf(from, country ?? network),
      country: country?.toUpperCase(),
      network,
      at: timeOf(at),
      caller,
    });
    const good = result.outcome === each.expect && (each.rule === undefined || each.rule === result.rule);
    return { each, result, good };
  });
  const wrong = results.filter(({ good }) => !good).length;
  if (input.on('json'))
    printJson(
      io,
      results.map(({ each, result, good }) => ({ ...each, result, ok: good })),
    );
  else {
    for (const { each, result, good } of results) {
      const what = each.name ?? `${each.method} ${each.path}`;
      const wanted = `${each.expect}${each.rule === undefined ? '' : ` by "${each.rule}"`}`;
      io.out(clean(good ? `ok      ${what}` : `FAILED  ${what}: ${told(result)[0] ?? ''}, not ${wanted}`));
    }
    io.out(`${results.length - wrong} as expected, ${wrong} not`);
  }
  return wrong === 0 ? 0 : 1;
}

function told({ outcome, rule, observed, proofs }: Result): readonly string[] {
  const by = rule === undefined ? 'no rule decides' : `by "${rule}"`;
  const asked = proofs.map((all) => all.join(' and ')).join(', or ');
  const more = observed.map((name) => `would have decided, were it not only observed: "${name}"`);
  return [`${outcome}: ${by}${outcome === 'ask' ? `; to be proven: ${asked}` : ''}`, ...more];
}

/** A place is one of an address. */
function addressOf(text: string | undefined, place: string | number | undefined): string | undefined {
  if (text === undefined && place !== undefined) throw cliError('CLI_USAGE', `${place} is said of no address: say from where`);
  if (text !== undefined && parseIp(text) === undefined) throw cliError('CLI_USAGE', `${text} is not an address`);
  return text;
}

function timeOf(text: string | undefined): number {
  const at = text === undefined ? Date.now() : Date.parse(text);
  if (Number.isNaN(at)) throw cliError('CLI_USAGE', `${text} is not a time such as 2026-11-28T12:00:00Z`);
  return at;
}

export const policyCommands: readonly Command[] = [policyTest];
