// Waiting for a file descriptor of our own to become readable: the one door to libuv's poll handles, which Node has and does not show.
//
// `node:ffi` gives the event loop, and the node binary exports libuv's functions (http://docs.libuv.org/en/v1.x/poll.html). A callback
// that libuv makes runs outside Node's own scopes: promises and ticks would not be served after it. So it only notes that there is
// something to read and asks for an immediate, which the loop runs right after its poll phase.
import type { Closable } from '#lib/lifecycle.ts';
import { overlayError } from '../errors.ts';

type Ffi = typeof import('node:ffi');
type Libuv = ReturnType<typeof bindLibuv>;

const UV_POLL = 8;
const UV_READABLE = 1;
/** Handles that libuv may still look at: their memory must not be collected before it says that they are closed. */
const kept = new Set<Buffer>();
let libuv: Libuv | undefined;

/** A watched descriptor. `close` must come before the descriptor itself is closed. */
export interface Readiness extends Closable {
  /** Whether the process stays alive for it; it does at first. */
  ref(alive: boolean): void;
}

/**
 * Calls `readable` from a turn of the event loop whenever `descriptor` has something to read, again in each turn until it has been
 * read (level-triggered). The descriptor must not block. Throws OVERLAY_NATIVE where this Node cannot do it, as in a worker thread.
 */
export async function watchReadable(descriptor: number, readable: () => void): Promise<Readiness> {
  const ffi = await import('node:ffi');
  libuv ??= bindLibuv(ffi);
  const { functions, library } = libuv;
  const handle = Buffer.alloc(Number(functions.uv_handle_size(UV_POLL)));
  const pointer = ffi.getRawPointer(handle);
  let turn: NodeJS.Immediate | undefined;
  let closed: Promise<void> | undefined;
  const wake = library.registerCallback({ arguments: ['pointer', 'int32', 'int32'], return: 'void' }, () => {
    turn ??= setImmediate(() => {
      turn = undefined;
      if (closed === undefined) readable();
    });
  });
  check('uv_poll_init', functions.uv_poll_init(ffi.getCurrentEventLoop(), pointer, descriptor));
  kept.add(handle);
  const close = (): Promise<void> => {
    closed ??= new Promise((resolve) => {
      clearImmediate(turn);
      process.off('exit', onExit);
      // Without a callback: at the process's end libuv would make it when no script may run any more. It forgets the handle at the end
      // of this turn of the loop, so in the turn after the next its memory is free.
      functions.uv_close(pointer, 0n);
      setImmediate(() =>
        setImmediate(() => {
          library.unregisterCallback(wake);
          kept.delete(handle);
          resolve();
        }),
      );
    });
    return closed;
  };
  const onExit = (): void => void close();
  process.on('exit', onExit);
  try {
    check('uv_poll_start', functions.uv_poll_start(pointer, UV_READABLE, wake));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    ref: (alive) => (alive ? functions.uv_ref(pointer) : functions.uv_unref(pointer)),
    close,
  };
}

function check(call: string, result: number): void {
  if (result !== 0) throw overlayError('OVERLAY_NATIVE', `${call} answers ${result}`);
}

function bindLibuv(ffi: Ffi) {
  const library = new ffi.DynamicLibrary(null);
  const functions = library.getFunctions({
    uv_handle_size: { arguments: ['int32'], return: 'uint64' },
    uv_poll_init: { arguments: ['pointer', 'pointer', 'int32'], return: 'int32' },
    uv_poll_start: { arguments: ['pointer', 'int32', 'pointer'], return: 'int32' },
    uv_close: { arguments: ['pointer', 'pointer'], return: 'void' },
    uv_ref: { arguments: ['pointer'], return: 'void' },
    uv_unref: { arguments: ['pointer'], return: 'void' },
  });
  return { library, functions };
}
