// Waiting for a file descriptor of our own to become readable: the one door to libuv's poll handles, which Node has and does not show.
//
// `node:ffi` gives the event loop, and the node binary exports libuv's functions (http://docs.libuv.org/en/v1.x/poll.html). A callback
// that libuv makes runs outside Node's own scopes: promises and ticks would not be served after it. So it only notes that there is
// something to read and asks for an immediate, which the loop runs right after its poll phase.
//
// Not in worker threads: one that is ended from outside runs no script that could take its handles out of its loop, and Node aborts then.
import { isMainThread } from 'node:worker_threads';
import { type Ffi, loadFfi } from '#lib/ffi.ts';
import type { Closable } from '#lib/lifecycle.ts';
import { overlayError } from '../errors.ts';

type Libuv = ReturnType<typeof bindLibuv>;

const UV_POLL = 8;
const UV_READABLE = 1;
const UV_WRITABLE = 2;
/** libuv's handle has 160 bytes today; one that needs more than this is not the libuv that we know. */
const MAX_HANDLE_BYTES = 1024;
/** Handles that libuv may still look at: their memory must not be collected before it says that they are closed. */
const kept = new Map<bigint, Watch>();
let libuv: Libuv | undefined;

/** A watched descriptor. `close` must come before the descriptor itself is closed. */
export interface Readiness extends Closable {
  /** Whether the process stays alive for it; it does at first. */
  ref(alive: boolean): void;
  /** Calls, too, whenever the descriptor takes something; until that is no longer wanted. */
  awaitRoom(wanted: boolean): void;
}

/**
 * Calls `ready` from a turn of the event loop whenever `descriptor` has something to read, again in each turn until it has been
 * read (level-triggered). The descriptor must not block. Throws OVERLAY_NATIVE where this Node cannot do it, as in a worker thread.
 */
export function watchDescriptor(descriptor: number, ready: () => void): Readiness {
  libuv ??= bindLibuv();
  return new Watch(libuv, descriptor, ready);
}

class Watch implements Readiness {
  readonly #libuv: Libuv;
  readonly #ready: () => void;
  readonly #handle: ArrayBuffer;
  readonly #pointer: bigint;
  #turn: NodeJS.Immediate | undefined;
  #closed: Promise<void> | undefined;

  constructor(uv: Libuv, descriptor: number, ready: () => void) {
    this.#libuv = uv;
    this.#ready = ready;
    this.#handle = new ArrayBuffer(MAX_HANDLE_BYTES);
    this.#pointer = uv.ffi.getRawPointer(this.#handle);
    check('uv_poll_init', uv.functions.uv_poll_init(uv.ffi.getCurrentEventLoop(), this.#pointer, descriptor));
    kept.set(this.#pointer, this);
    if (kept.size === 1) process.on('exit', closeAll);
    try {
      check('uv_poll_start', this.#start(UV_READABLE));
    } catch (error) {
      void this.close();
      throw error;
    }
  }

  ref(alive: boolean): void {
    if (this.#closed !== undefined) return;
    if (alive) this.#libuv.functions.uv_ref(this.#pointer);
    else this.#libuv.functions.uv_unref(this.#pointer);
  }

  awaitRoom(wanted: boolean): void {
    if (this.#closed === undefined) this.#start(wanted ? UV_READABLE | UV_WRITABLE : UV_READABLE);
  }

  close(): Promise<void> {
    this.#closed ??= new Promise((resolve) => {
      clearImmediate(this.#turn);
      // Without a callback: at the process's end libuv would make it when no script may run any more. It forgets the handle at the end
      // of this turn of the loop, so in the turn after the next its memory is free.
      this.#libuv.functions.uv_close(this.#pointer, 0n);
      setImmediate(() =>
        setImmediate(() => {
          kept.delete(this.#pointer);
          if (kept.size === 0) process.off('exit', closeAll);
          resolve();
        }),
      );
    });
    return this.#closed;
  }

  /** For libuv's callback. */
  woken(status: number): void {
    if (this.#closed !== undefined) return;
    // After an error of the descriptor libuv no longer looks at it. Reading takes the error off.
    if (status < 0) this.#start(UV_READABLE);
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      if (this.#closed === undefined) this.#ready();
    });
  }

  #start(events: number): number {
    return this.#libuv.functions.uv_poll_start(this.#pointer, events, this.#libuv.wake);
  }
}

function closeAll(): void {
  for (const watch of kept.values()) void watch.close();
}

function check(call: string, result: number): void {
  if (result !== 0) throw overlayError('OVERLAY_NATIVE', `${call} answers ${result}`);
}

function bindLibuv() {
  if (!isMainThread) throw overlayError('OVERLAY_NATIVE', 'not in a worker thread');
  const ffi: Ffi | undefined = loadFfi();
  if (ffi === undefined) throw overlayError('OVERLAY_NATIVE', 'this Node has no node:ffi');
  try {
    const library = new ffi.DynamicLibrary(null);
    const functions = library.getFunctions({
      uv_handle_size: { arguments: ['int32'], return: 'uint64' },
      uv_handle_type_name: { arguments: ['int32'], return: 'pointer' },
      uv_poll_init: { arguments: ['pointer', 'pointer', 'int32'], return: 'int32' },
      uv_poll_start: { arguments: ['pointer', 'int32', 'pointer'], return: 'int32' },
      uv_close: { arguments: ['pointer', 'pointer'], return: 'void' },
      uv_ref: { arguments: ['pointer'], return: 'void' },
      uv_unref: { arguments: ['pointer'], return: 'void' },
    });
    if (functions.uv_handle_size(UV_POLL) > BigInt(MAX_HANDLE_BYTES) || ffi.toString(functions.uv_handle_type_name(UV_POLL)) !== 'poll')
      throw overlayError('OVERLAY_NATIVE', 'an unknown libuv');
    // One callback for all of them, kept for good: libuv says which handle it means.
    const wake = library.registerCallback({ arguments: ['pointer', 'int32', 'int32'], return: 'void' }, (handle, status) => {
      if (typeof handle === 'bigint') kept.get(handle)?.woken(status);
    });
    return { ffi, functions, wake, library };
  } catch (error) {
    throw overlayError('OVERLAY_NATIVE', 'libuv', error);
  }
}
