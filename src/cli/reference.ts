// `meshgate config`: the reference and an example of every configuration, written from the schemas.
import { exampleJson, settingsTable } from '#lib/schema-docs.ts';
import type { Command } from './command.ts';
import { cliError } from './errors.ts';
import type { ProcessKind } from './processes.ts';

export type ProcessLoaders = Readonly<Record<string, () => Promise<ProcessKind>>>;

export function referenceCommands(loaders: ProcessLoaders): readonly Command[] {
  return [
    {
      name: 'config docs',
      summary: 'print the reference of all settings as markdown',
      async run(_input, io) {
        for (const [name, load] of Object.entries(loaders)) {
          const kind = await load();
          io.out(`## meshgate ${name}\n\n${settingsTable(kind.schema, kind.prefix)}\n`);
        }
        return 0;
      },
    },
    {
      name: 'config example',
      summary: 'print an example of a configuration file',
      positionals: ['PROCESS'],
      async run(input, io) {
        const [name = ''] = input.positionals;
        const load = Object.hasOwn(loaders, name) ? loaders[name] : undefined;
        if (load === undefined) throw cliError('CLI_USAGE', `PROCESS is one of ${Object.keys(loaders).join(', ')}`);
        io.out(exampleJson((await load()).schema));
        return 0;
      },
    },
  ];
}
