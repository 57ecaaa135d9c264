// The command line itself: help for all and each, exit codes, one clear line for every mistake.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { commands } from '#cli/commands/index.ts';
import { parseInput } from '#cli/args.ts';
import { clean, tableLines } from '#cli/output.ts';
import { nearest } from '#lib/nearest.ts';
import { run } from './fake-io.ts';

const main = join(import.meta.dirname, '../../src/cli/main.ts');
const processes = ['server', 'gateway', 'agent'];

t.test('help tells every command', async (t) => {
  const { code, out } = await run(['--help']);
  t.equal(code, 0);
  for (const command of commands) t.ok(out.includes(`  ${command.name} `), command.name);
  t.match(await run([]), { code: 2, err: /Usage: meshgate COMMAND/ });
});

t.test('every command has a help of its own', async (t) => {
  for (const command of commands) {
    if ('runRaw' in command || processes.includes(command.name)) continue;
    const { code, out } = await run([...command.name.split(' '), '--help']);
    t.equal(code, 0, command.name);
    t.ok(out.startsWith(`Usage: meshgate ${command.name}`), command.name);
    t.match(out, /--help {2,}this text/);
  }
  t.match(await run(['start', '--help']), { code: 0, out: /Usage: meshgate start/ });
});

t.test('names are unique and no command hides another', async (t) => {
  const names = commands.map((command) => command.name);
  t.equal(new Set(names).size, names.length);
  // The first that fits is taken: `expose` may come after `expose list`, not before.
  for (const [i, name] of names.entries()) {
    t.notOk(
      names.slice(i).some((other) => other.startsWith(`${name} `)),
      name,
    );
  }
});

t.test('a noun alone tells its commands', async (t) => {
  t.match(await run(['user']), { code: 2, err: /user create/ });
  t.match(await run(['user', '--help']), { code: 0, out: /user create/ });
});

t.test('a mistake is one line with what was probably meant, and exit code 2', async (t) => {
  const mistakes: readonly (readonly [readonly string[], string])[] = [
    [['statsu'], 'meshgate: there is no command "statsu"; did you mean "status"?'],
    [['user', 'crate'], 'meshgate: there is no command "user crate"; did you mean "user create"?'],
    [['usr', 'list'], 'meshgate: there is no command "usr list"; did you mean "user list"?'],
    [['zzzzzz'], 'meshgate: there is no command "zzzzzz"; see meshgate --help'],
    [['status', '--jsno'], 'meshgate: the flag --jsno is not known; did you mean --json?'],
    [['status', '--state-dir'], 'meshgate: --state-dir needs a value'],
    [['status', '--state-dir', '--json'], 'meshgate: --state-dir needs a value'],
    [['status', '--json=yes'], 'meshgate: --json takes no value'],
    [['status', '--state-dir', 'a', '--state-dir', 'b'], 'meshgate: --state-dir may be given once'],
    [['status', 'more'], 'meshgate: "more" is one argument too many'],
    [['user', 'create'], 'meshgate: EMAIL is missing'],
    [['setup', '--name', 'x'], 'meshgate: --email is missing'],
    [['events', 'proxy', '--page', 'two'], 'meshgate: --page takes a number'],
    [['user', 'create', 'a@b.test', '--password', 'x'], 'meshgate: the flag --password is not known; did you mean --password-file?'],
  ];
  for (const [args, line] of mistakes) t.same(await run(args), { code: 2, out: '', err: line }, args.join(' '));
});

t.test('flags named like parts of Object are unknown flags', async (t) => {
  for (const name of ['__proto__', 'constructor', 'toString']) t.match(await run(['status', `--${name}`, 'x']), { code: 2, err: /is not known/ });
});

t.test('no command takes a secret as an argument', async (t) => {
  for (const command of commands) {
    if ('runRaw' in command || typeof command.flags === 'function') continue;
    t.same(
      Object.keys(command.flags ?? {}).filter((name) => /^(?:password|token|secret|code|pin)$/.test(name)),
      [],
      command.name,
    );
  }
});

t.test('many flags, switches, and a double dash', async (t) => {
  const flags = { many: { kind: 'many', about: '' }, on: { kind: 'switch', about: '' } } as const;
  const input = parseInput(['--many', 'a', '--many=b', '--on', '--', '--many'], flags, ['X']);
  t.same([input.many('many'), input.on('on'), input.positionals], [['a', 'b'], true, ['--many']]);
});

t.test('a table is aligned, and foreign text cannot drive the terminal', async (t) => {
  const rows = [
    { a: '\u001b[31mred\u001b[0m', b: 'x' },
    { a: '', b: 'a\u202eb' },
  ];
  t.same(
    tableLines(rows, [
      { title: 'A', cell: (row) => row.a },
      { title: 'B', cell: (row) => row.b },
    ]),
    ['A             B', '?[31mred?[0m  x', '-             a?b'],
  );
  t.equal(clean('two\nlines'), 'two?lines');
});

t.test('the nearest word is near', async (t) => {
  const words = ['status', 'setup', 'start', 'server'];
  for (const [typed, meant] of Object.entries({ stats: 'status', satrt: 'start', serve: 'server', SETUP: 'setup' }))
    t.equal(nearest(typed, words), meant);
  for (const typed of ['', 'xyz', 'completely-else', 'x'.repeat(1000)]) t.equal(nearest(typed, words), undefined);
});

t.test('the executable itself answers', async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, [main, '--help'], { timeout: 20_000 });
  t.match(stdout, /Usage: meshgate COMMAND/);
  await t.rejects(promisify(execFile)(process.execPath, [main, 'nonsense'], { timeout: 20_000 }), {
    code: 2,
    stderr: /there is no command "nonsense"/,
  });
});
