// Upstreams as people run them, each with its own idea of paths and field names: Node, Python's WSGI and file server, PHP's server.
// All serve one directory: `public/` is open, `admin/` holds a secret that nobody may get.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, posix } from 'node:path';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';

export const secret = 'the secret of the admins';

/** A twin by name, its port, and whether it answers with the fields that its program would see, as JSON. */
export interface Twin {
  readonly name: string;
  readonly port: number;
  readonly tells: 'files' | 'fields';
}

/** Both kinds of Python's own server in one process: `wsgiref` tells the fields, `http.server` serves the files. It prints both ports. */
const python = `
import functools, http.server, json, sys, threading
from wsgiref.simple_server import make_server, WSGIRequestHandler
class QuietWsgi(WSGIRequestHandler):
    def log_message(self, *args): pass
class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass
def app(environ, start):
    seen = {k: v for k, v in environ.items() if isinstance(v, str) and (k.startswith('HTTP_') or k == 'PATH_INFO')}
    body = json.dumps(seen).encode()
    start('200 OK', [('Content-Type', 'application/json'), ('Content-Length', str(len(body)))])
    return [body]
wsgi = make_server('127.0.0.1', 0, app, handler_class=QuietWsgi)
files = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(QuietFiles, directory=sys.argv[1]))
threading.Thread(target=wsgi.serve_forever, daemon=True).start()
print(wsgi.server_port, files.server_port, flush=True)
files.serve_forever()
`;

/** Tells the fields below /fields; everything else is a file of the directory. */
const php = `<?php if (str_starts_with($_SERVER['REQUEST_URI'], '/fields')) { header('Content-Type: application/json'); echo json_encode(array_filter($_SERVER, fn($k) => str_starts_with($k, 'HTTP_') || $k === 'PHP_AUTH_USER', ARRAY_FILTER_USE_KEY), JSON_INVALID_UTF8_SUBSTITUTE); return true; } return false;`;

async function firstLine(child: ChildProcess, pattern: RegExp): Promise<RegExpExecArray> {
  const { stdout, stderr } = child;
  if (stdout === null || stderr === null) throw new TypeError('no output');
  return new Promise((resolve, reject) => {
    for (const stream of [stdout, stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        const match = pattern.exec(line);
        if (match !== null) resolve(match);
      });
    }
    child.once('exit', () => reject(new Error('the twin ended')));
  });
}

function isThere(program: string): boolean {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;
}

/** The path that Node programs make of a target: resolved by URL, then decoded, then normalised with either slash. */
function nodePath(request: IncomingMessage): string {
  try {
    const { pathname } = new URL(`http://twin${request.url ?? '/'}`);
    return posix.normalize(decodeURIComponent(pathname).replaceAll('\\', '/'));
  } catch {
    return '/';
  }
}

/** Starts the twins that the machine has; tells by name which it has not. */
export async function startTwins(t: Test): Promise<Twin[]> {
  const root = await mkdtemp(join(tmpdir(), 'meshgate-twins-'));
  for (const [folder, text] of [
    ['public', 'open to all'],
    ['admin', secret],
    ['public/deep', 'deep'],
  ] as const) {
    await mkdir(join(root, folder), { recursive: true });
    await writeFile(join(root, folder, 'index.html'), text);
  }
  await writeFile(join(root, 'router.php'), php);
  const twins: Twin[] = [];

  const node = createServer((request, response) => {
    const path = nodePath(request);
    response.end(/^\/+admin(?:\/|$)/i.test(path) ? secret : path);
  });
  await new Promise<void>((resolve) => node.listen(0, '127.0.0.1', resolve));
  twins.push({ name: 'node', port: (node.address() as AddressInfo).port, tells: 'files' });

  const children: ChildProcess[] = [];
  if (isThere('python3')) {
    const child = spawn('python3', ['-c', python, root], { stdio: ['ignore', 'pipe', 'pipe'] });
    children.push(child);
    const [, wsgi, files] = await firstLine(child, /^(\d+) (\d+)$/);
    twins.push({ name: 'python wsgiref', port: Number(wsgi), tells: 'fields' }, { name: 'python http.server', port: Number(files), tells: 'files' });
  } else {
    t.comment('no Python here: its twins are left out');
  }
  if (isThere('php')) {
    const child = spawn('php', ['-S', '127.0.0.1:0', '-t', root, join(root, 'router.php')], { stdio: ['ignore', 'pipe', 'pipe'] });
    children.push(child);
    const [, port] = await firstLine(child, /http:\/\/127\.0\.0\.1:(\d+)/);
    twins.push({ name: 'php', port: Number(port), tells: 'files' }, { name: 'php fields', port: Number(port), tells: 'fields' });
  } else {
    t.comment('no PHP here: its twins are left out');
  }
  t.teardown(async () => {
    for (const child of children) child.kill('SIGKILL');
    for (const child of children) if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    node.closeAllConnections();
    await new Promise((resolve) => node.close(resolve));
    await rm(root, { recursive: true, force: true });
  });
  return twins;
}
