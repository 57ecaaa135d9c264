// Runs the packet scripts: one file for each TCP state (RFC 9293 §3.3.2), and `recovery` for what goes on within ESTABLISHED.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readScripts, runScript } from './scripts/reader.ts';

const folder = join(import.meta.dirname, 'scripts');
const files = readdirSync(folder).filter((name) => name.endsWith('.script'));

void t.test('there is a file for every state', async (t) => {
  const states = [
    'closed',
    'listen',
    'syn-sent',
    'syn-received',
    'established',
    'fin-wait-1',
    'fin-wait-2',
    'close-wait',
    'closing',
    'last-ack',
    'time-wait',
  ];
  t.same(
    states.filter((state) => !files.includes(`${state}.script`)),
    [],
  );
});

for (const file of files) {
  void t.test(file, async (t) => {
    for (const script of readScripts(join(folder, file))) runScript(t, script);
  });
}
