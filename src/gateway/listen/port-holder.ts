// Which program of this machine holds a port: what Linux tells of it. Elsewhere, and of other users' programs, nothing is known.
import { readdir, readFile, readlink } from 'node:fs/promises';

/** Processes that are looked at, the newest first; a machine with more of them is not searched through. */
const maxProcesses = 4_096;

/** Such as `nginx (process 123)`; undefined where it cannot be told. Never rejects. */
export async function portHolder(protocol: 'tcp' | 'udp', port: number): Promise<string | undefined> {
  try {
    const inodes = await listeningInodes(protocol, port);
    return inodes.size === 0 ? undefined : await processWith(inodes);
  } catch {
    return undefined;
  }
}

/** Of proc_pid_net(5): the local address is second, the state fourth, the inode tenth. */
async function listeningInodes(protocol: 'tcp' | 'udp', port: number): Promise<ReadonlySet<string>> {
  const inodes = new Set<string>();
  const ending = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  for (const file of [`/proc/net/${protocol}`, `/proc/net/${protocol}6`]) {
    const text = await readFile(file, 'latin1').catch(() => '');
    for (const line of text.split('\n').slice(1)) {
      const columns = line.trim().split(/\s+/);
      const listens = protocol === 'udp' || columns[3] === '0A';
      if (listens && columns[1]?.endsWith(ending) === true && columns[9] !== undefined) inodes.add(`socket:[${columns[9]}]`);
    }
  }
  return inodes;
}

async function processWith(inodes: ReadonlySet<string>): Promise<string | undefined> {
  const processes = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name)).toSorted((a, b) => Number(b) - Number(a));
  for (const id of processes.slice(0, maxProcesses)) {
    const files = await readdir(`/proc/${id}/fd`).catch(() => []);
    for (const file of files) {
      const link = await readlink(`/proc/${id}/fd/${file}`).catch(() => '');
      if (inodes.has(link)) return `${(await readFile(`/proc/${id}/comm`, 'utf8')).trim()} (process ${id})`;
    }
  }
  return undefined;
}
