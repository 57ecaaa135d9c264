// `meshgate attack`: the attack table against an own service, after it is proven to be one.
import { openApi } from '../api-client.ts';
import { rowIds } from '../attack/rows.ts';
import { apiFlags } from '../api-command.ts';
import type { RowReport } from '../attack/attack.ts';
import type { Claim } from '../attack/control.ts';
import type { ProvenTarget } from '../attack/range.ts';
import type { Command } from '../command.ts';
import { findCredentials } from '../credentials.ts';
import { cliError } from '../errors.ts';
import { readText } from '../files.ts';
import { clean, printJson } from '../output.ts';

/** How control is proven: by the control plane and the gateway of the host, and by nothing else. Tests have their own. */
export type Prove = (claim: Claim) => Promise<ProvenTarget>;

async function proveByToken(claim: Claim): Promise<ProvenTarget> {
  const { proveControl } = await import('../attack/control.ts');
  return proveControl(claim);
}

export function attackCommand(prove: Prove = proveByToken): Command {
  return {
    name: 'attack',
    summary: 'try the attack table on an own published host, without harm: 25 requests a second at most, no floods',
    positionals: ['HOST'],
    flags: {
      port: { kind: 'integer', value: 'N', about: "the gateways' HTTPS port (default 443)" },
      echo: { kind: 'text', value: 'PATH', about: 'a path of the service whose answer tells the target and the fields that it received' },
      'token-file': { kind: 'text', value: 'FILE', about: 'a token (nbp_…) that may pass to the echo; sent there only' },
      row: { kind: 'many', value: 'ID', about: 'only this row, such as S-1; may be given again' },
      ...apiFlags,
    },
    async run(input, io) {
      const [, host = '', hostPort] = /^(?:https:\/\/)?([a-z0-9.-]+)(?::([0-9]+))?\/?$/.exec((input.positionals[0] ?? '').toLowerCase()) ?? [];
      if (host === '') throw cliError('CLI_USAGE', 'HOST is a host name, such as app.example.com');
      const only = input.many('row').map((id) => id.toUpperCase());
      const unknown = only.find((id) => !rowIds.includes(id));
      if (unknown !== undefined) throw cliError('CLI_USAGE', `there is no row ${unknown}`);
      const path = input.text('echo');
      if (path !== undefined && !/^\/[\x21-\x7e]*$/.test(path.replaceAll(/[?#]/g, ' ')))
        throw cliError('CLI_USAGE', '--echo is a path, such as /echo');
      const tokenFile = input.text('token-file');
      const token = tokenFile === undefined ? undefined : (await readText(tokenFile)).text.trim();
      if (token !== undefined && path === undefined) throw cliError('CLI_USAGE', '--token-file is for --echo');
      if (token !== undefined && !/^nbp_[A-Za-z0-9]+$/.test(token)) throw cliError('CLI_FILE', `${tokenFile ?? ''}: not a token (nbp_…)`);
      const credentials = await findCredentials(io, input.text('api'), input.text('ca'));
      const ca = credentials.ca === undefined ? undefined : (await readText(credentials.ca)).text;
      const api = await openApi(credentials, io.stop);
      let target: ProvenTarget;
      try {
        target = await prove({ api, host, port: input.integer('port') ?? Number(hostPort ?? 443), ca, stop: io.stop });
      } finally {
        await api.close();
      }
      const { attack } = await import('../attack/attack.ts');
      const json = input.on('json');
      if (!json) io.out(`${target.host} at ${target.address} port ${target.port} is yours; asking it`);
      const echo = path === undefined ? undefined : { path, authorization: token === undefined ? undefined : `Bearer ${token}` };
      const rows = await attack(target, { echo, only, stop: io.stop, onRow: (row) => (json ? undefined : printRow(io.out, row)) });
      const count = (kind: RowReport['kind']): number => rows.filter((row) => row.kind === kind).length;
      if (json) printJson(io, rows);
      else io.out(`${count('passed')} passed, ${count('failed')} failed, ${count('not judged')} not judged`);
      return count('failed') === 0 && count('passed') > 0 ? 0 : 1;
    },
  };
}

function printRow(out: (line: string) => void, row: RowReport): void {
  const id = row.id.padEnd(4);
  switch (row.kind) {
    case 'passed':
      out(clean(`passed      ${id}  ${row.what ?? ''} (${row.tries})`));
      return;
    case 'failed':
      out(clean(`FAILED      ${id}  ${row.what ?? ''}`));
      for (const problem of row.problems) out(clean(`                  ${problem}`));
      return;
    case 'not judged':
      out(clean(`not judged  ${id}  ${row.what === undefined ? '' : `${row.what}: `}${row.reason}`));
  }
}
