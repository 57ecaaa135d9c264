// Somebody signs a machine in: `meshgate login`, and a browser without a window that opens what it prints.
import type { Test } from 'tap';
import { ScriptedBrowser } from './browser.ts';
import { runCommand } from './expose.ts';
import type { Plane } from './parts.ts';
import { until } from './until.ts';

/** The environment of commands that run as this person from then on, with a home folder of their own. */
export async function signMachineIn(t: Test, plane: Plane, home: string, email: string, password: string): Promise<NodeJS.ProcessEnv> {
  const env = { HOME: home, XDG_CONFIG_HOME: `${home}/.config`, XDG_STATE_HOME: `${home}/.state` };
  const cli = runCommand(t, ['login', '--api', plane.url, '--ca', plane.caFile], env);
  const asked = /open (\S+) and compare the code: (\S+)/;
  await until('it says what to open', () => cli.err.some((line) => asked.test(line)));
  const [, link = '', code = ''] = asked.exec(cli.err.join('\n')) ?? [];
  const browser = new ScriptedBrowser(plane.caFile);
  t.teardown(() => browser.close());
  const shown = await browser.submit(await browser.open(link), { user_code: code });
  const form = await browser.submit(shown, {});
  const done = await browser.submit(form, { email, password });
  t.match(done.text, /The device is connected/);
  t.equal(await cli.exited, 0, cli.err.join('\n'));
  t.match(cli.out, [new RegExp(`^${email} is signed in`)]);
  return env;
}
