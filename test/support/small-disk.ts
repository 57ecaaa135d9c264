// A file system of a few hundred kilobytes that a test fills up and empties again: what a full disk is to a process (attack row D-15).
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { errorCode } from '#lib/errors.ts';

export interface SmallDisk {
  readonly folder: string;
  /** Takes every byte that is left. */
  fill(): void;
  free(): void;
}

/** Throws where this process may not mount: see `needsMount`. */
export function smallDisk(t: Test, kilobytes: number): SmallDisk {
  const folder = mkdtempSync(join(tmpdir(), 'meshgate-disk-'));
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${kilobytes}k`, 'tmpfs', folder], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`no small disk: ${stderr}`);
  t.teardown(() => {
    spawnSync('umount', ['-l', folder]);
    rmSync(folder, { recursive: true, force: true });
  });
  const ballast = join(folder, 'ballast');
  return {
    folder,
    fill() {
      const file = openSync(ballast, 'a');
      try {
        for (let size = 65_536; size >= 1;) {
          try {
            writeSync(file, Buffer.alloc(size));
          } catch (error) {
            if (errorCode(error) !== 'ENOSPC') throw error;
            size = Math.floor(size / 2);
          }
        }
      } finally {
        closeSync(file);
      }
    },
    free: () => rmSync(ballast, { force: true }),
  };
}

/** Options of tests with a small disk: they are skipped where nothing may be mounted. */
export const needsMount = {
  skip: spawnSync('unshare', ['-m', 'true']).status === 0 ? false : 'a small disk takes a mount, which needs root',
} as const;
