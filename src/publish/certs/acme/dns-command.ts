// TXT records by a program of the operator's, for name servers with an interface of their own. It is told by its environment, never by arguments,
// and gets no variable of ours but those that the configuration names.
import { spawn } from 'node:child_process';
import { HOOK_MS, HOOK_OUTPUT_BYTES } from './constants.ts';
import type { DnsRecords } from './dns-records.ts';
import { AcmeProblem, plainLine } from './transport.ts';

export interface DnsCommandSettings {
  /** Program and arguments; no shell. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** Rejects with AcmeProblem of kind `local`; the reason has the end of what the program wrote to its standard error. */
export function dnsCommandRecords({ command, env }: DnsCommandSettings): DnsRecords {
  const [program = '', ...args] = command;

  function run(action: 'add' | 'remove', name: string, value: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const own = { MESHGATE_DNS_ACTION: action, MESHGATE_DNS_NAME: name, MESHGATE_DNS_VALUE: value };
      const child = spawn(program, args, { env: { ...env, ...own }, stdio: ['ignore', 'ignore', 'pipe'], detached: true });
      let output = '';
      // The whole group: what the program started must not outlive its deadline.
      const kill = (): void => {
        try {
          if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
        } catch {
          // It has ended by itself.
        }
      };
      const deadline = AbortSignal.any([signal, AbortSignal.timeout(HOOK_MS)]);
      deadline.addEventListener('abort', kill, { once: true });
      const fail = (why: string): void => {
        deadline.removeEventListener('abort', kill);
        const said = plainLine(output);
        reject(new AcmeProblem({ kind: 'local', reason: `the DNS command ${why}${said === '' ? '' : `: ${said}`}`, retryAfterMs: undefined }));
      };
      child.stderr.setEncoding('utf8');
      child.stderr.on('data', (text: string) => (output = `${output}${text}`.slice(-HOOK_OUTPUT_BYTES)));
      child.on('error', (error) => fail(`cannot be run (${error.message})`));
      child.on('exit', (code) => {
        child.stderr.destroy();
        if (code !== 0) return fail(deadline.aborted ? 'was stopped: it took too long' : `ended with ${code ?? 'a signal'}`);
        deadline.removeEventListener('abort', kill);
        resolve();
      });
      if (deadline.aborted) kill();
    });
  }

  return { add: (name, value, signal) => run('add', name, value, signal), remove: (name, value, signal) => run('remove', name, value, signal) };
}
