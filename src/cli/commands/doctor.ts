// `meshgate doctor`: why a published host does not work, and what to do.
import { openApi } from '../api-client.ts';
import { apiFlags } from '../api-command.ts';
import type { Command } from '../command.ts';
import { findCredentials } from '../credentials.ts';
import { cliError } from '../errors.ts';
import { readText } from '../files.ts';
import { clean, printJson } from '../output.ts';

export const doctorCommand: Command = {
  name: 'doctor',
  summary: 'look why a published host does not work, stage by stage, and say what to do',
  positionals: ['HOST'],
  flags: {
    port: { kind: 'integer', value: 'N', about: "the gateways' HTTPS port (default 443)" },
    path: { kind: 'text', value: 'PATH', about: 'the path to look at (default /)' },
    ...apiFlags,
  },
  async run(input, io) {
    const [, host = '', hostPort] = /^(?:https:\/\/)?([^/:]+)(?::([0-9]+))?\/?$/.exec((input.positionals[0] ?? '').toLowerCase()) ?? [];
    if (host === '') throw cliError('CLI_USAGE', 'HOST is a host name, such as app.example.com');
    const credentials = await findCredentials(io, input.text('api'), input.text('ca'));
    const api = await openApi(credentials, io.stop);
    try {
      const { examine } = await import('../doctor/doctor.ts');
      const ca = credentials.ca === undefined ? undefined : (await readText(credentials.ca)).text;
      const port = input.integer('port') ?? Number(hostPort ?? 443);
      const findings = await examine({ api, host, port, path: input.text('path') ?? '/', ca, stop: io.stop });
      if (input.on('json')) printJson(io, findings);
      else {
        for (const { stage, ok, text, fix } of findings) {
          io.out(clean(`${ok ? 'ok  ' : 'FAIL'}  ${stage.padEnd(8)}  ${text}`));
          if (fix !== undefined) io.out(clean(`                ${fix}`));
        }
      }
      return findings.every(({ ok }) => ok) ? 0 : 1;
    } finally {
      await api.close();
    }
  },
};
