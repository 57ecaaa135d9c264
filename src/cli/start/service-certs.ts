// Certificates of the local authority for whatever is published while the mesh of this machine runs, such as what `meshgate expose` names.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep } from '#lib/backoff.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { ApiClient } from '../api-client.ts';
import { asRows } from '../api-command.ts';
import { field } from '../output.ts';
import type { LocalCa } from './local-ca.ts';

const lookEveryMs = 1_000;

/** Gives every plain name at or below the cluster a certificate in `certDir`, and takes it away with its service; `kept` are others' to keep. */
export function certifyServices(
  api: Pick<ApiClient, 'call'>,
  ca: Pick<LocalCa, 'ensure'>,
  place: { readonly certDir: string; readonly cluster: string; readonly kept: string },
): Closable {
  const stopping = new AbortController();
  const certified = new Set<string>();
  const files = (name: string): [string, string] => [join(place.certDir, `${name}.crt`), join(place.certDir, `${name}.key`)];
  const look = async (): Promise<void> => {
    const domains = asRows(await api.call('GET', '/api/reverse-proxies/services')).map((row) => field(row, 'domain'));
    const wanted = new Set(domains.filter((name) => name !== place.kept && name.endsWith(`.${place.cluster}`) && /^[a-z0-9.-]+$/.test(name)));
    for (const name of wanted) {
      if (certified.has(name)) continue;
      await ca.ensure([name], ...files(name));
      certified.add(name);
    }
    for (const name of certified) {
      if (wanted.has(name)) continue;
      certified.delete(name);
      for (const file of files(name)) await rm(file, { force: true });
    }
  };
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await look().catch(() => undefined); // the control plane may be starting again
      await sleep(lookEveryMs, stopping.signal);
    }
  };
  const running = run();
  return {
    async close() {
      stopping.abort();
      await running;
    },
  };
}
