// What the command line tool says when it cannot go on. Here the detail is printed too, so it never holds a secret.
import { defineErrors } from '#lib/errors.ts';

const input = { origin: 'input', retry: false, status: 400 } as const;

export const cliError = defineErrors('cli', {
  CLI_USAGE: { text: 'the command line is not right', ...input },
  CLI_FILE: { text: 'a file cannot be used', ...input },
  CLI_STATE_DIR: { text: 'the state directory cannot be used; choose another with --state-dir', ...input },
  CLI_STATE_DIR_IN_USE: { text: 'another process runs from this state directory; stop it first, or choose another with --state-dir', ...input },
  CLI_SECRET: { text: 'a secret is missing', ...input },
  CLI_NOT_SIGNED_IN: { text: 'no token for this server: set MESHGATE_TOKEN, or run meshgate setup', ...input },
  CLI_API_URL: { text: 'say which server: --api https://host[:port], or MESHGATE_API', ...input },
  CLI_API_REFUSED: { text: 'the server refused', origin: 'peer', retry: false, status: 502 },
  CLI_API_UNREACHABLE: { text: 'the server cannot be reached', origin: 'peer', retry: true, status: 502 },
  CLI_AGENT_AWAY: { text: 'the agent of this machine does not answer', origin: 'input', retry: true, status: 502 },
  CLI_AGENT_REFUSED: { text: 'the agent refused', origin: 'input', retry: false, status: 400 },
  CLI_CONNECT: { text: 'the service cannot be connected to', origin: 'peer', retry: true, status: 502 },
  CLI_NOT_FOUND: { text: 'nothing has this name or id', ...input },
  CLI_NOT_PROVEN: { text: 'this host is not proven to be yours, so it is not attacked', ...input },
  CLI_AMBIGUOUS: { text: 'more than one has this name; use the id', ...input },
});
