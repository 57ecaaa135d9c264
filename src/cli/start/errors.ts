// What can go wrong when a whole mesh is started on one machine. Each text says what to do.
import { defineErrors } from '#lib/errors.ts';

const input = { origin: 'input', retry: false, status: 500 } as const;

export const startError = defineErrors('start', {
  START_FLAG_INVALID: { text: 'A flag is wrong.', ...input },
  START_PORT_IN_USE: { text: 'A port that is needed is in use. Stop the program that holds it, or choose another port.', ...input },
  START_PORT_FORBIDDEN: { text: 'This user may not open the port. Choose a port above 1023.', ...input },
  START_DIRECTORY_UNUSABLE: {
    text: 'The state directory cannot be written. Choose another with --state-dir, or make it writable for this user.',
    ...input,
  },
  START_ALREADY_RUNNING: { text: 'A mesh already runs from this state directory. Stop it first, or choose another with --state-dir.', ...input },
  START_PROCESS_DIED: {
    text: 'A process of the mesh ended before it was ready. Its last lines are above.',
    origin: 'internal',
    retry: false,
    status: 500,
  },
  START_NOT_READY: {
    text: 'The mesh was not ready in time. Look at the log files in the state directory.',
    origin: 'internal',
    retry: true,
    status: 500,
  },
  START_API_REFUSED: { text: 'The control plane refused a step of the set-up.', origin: 'internal', retry: false, status: 500 },
});
