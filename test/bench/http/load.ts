// wrk with a private /etc/hosts, so that it names the published host in its handshakes, on the load's core.
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { coreArgument, LOAD_CORE } from './asking.ts';

export interface LoadPlan {
  readonly url: string;
  readonly connections: number;
  readonly seconds: number;
  /** Requests a second to offer, with exponential pauses on each connection, after half a second for the handshakes; left out, as many as it can. */
  readonly perSecond?: number;
}

export interface Load {
  readonly requests: number;
  /** Measured by wrk: requests, and bytes received, a second. */
  readonly rate: number;
  readonly bytesPerSecond: number;
  /** Milliseconds from a request's first byte to its answer's last. */
  readonly p50: number;
  readonly p99: number;
}

const script = `wrk.headers["Cookie"] = os.getenv("COOKIE")
local mean = tonumber(os.getenv("PAUSE_MS") or "")
if mean then
  local waiting = tonumber(os.getenv("CONNECTIONS"))
  function delay()
    local pause = math.floor(-mean * math.log(1 - math.random()) + 0.5)
    -- The first request of each connection waits until all handshakes are over.
    if waiting > 0 then waiting = waiting - 1; pause = pause + 500 end
    return pause
  end
end
done = function(summary, latency)
  local errors = summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("RESULT %f %f %f %f %d %d\\n", summary.requests / summary.duration * 1e6, summary.bytes / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, errors, summary.requests))
end
`;

export interface LoadGenerator {
  run(plan: LoadPlan): Promise<Load>;
}

/** Needs root for the private /etc/hosts. The cookie travels by environment. */
export async function openLoadGenerator(directory: string, host: string, cookie: string): Promise<LoadGenerator> {
  const hosts = join(directory, 'hosts');
  const lua = join(directory, 'load.lua');
  await writeFile(hosts, `127.0.0.1 localhost ${host}\n`);
  await writeFile(lua, script);
  return {
    async run({ url, connections, seconds, perSecond }) {
      const command = `mount --bind ${hosts} /etc/hosts && exec taskset -c ${coreArgument(LOAD_CORE)} wrk -t1 -c${connections} -d${seconds}s --timeout 10s --latency -s ${lua} ${url}`;
      const pause = perSecond === undefined ? {} : { PAUSE_MS: String((connections / perSecond) * 1_000), CONNECTIONS: String(connections) };
      const wrk = spawn('unshare', ['-m', 'sh', '-c', command], {
        env: { ...process.env, COOKIE: cookie, ...pause },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let out = '';
      wrk.stdout.on('data', (chunk: Buffer) => (out += chunk.toString('utf8')));
      await new Promise((done) => wrk.on('close', done));
      const found = /RESULT ([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+) (\d+) (\d+)/.exec(out);
      const [rate = 0, bytesPerSecond = 0, p50 = 0, p99 = 0, errors = 0, requests = 0] = (found ?? []).slice(1).map(Number);
      if (found === null || errors > 0 || requests === 0) throw new Error(`wrk at ${url}: ${out}`);
      return { rate, bytesPerSecond, p50, p99, requests };
    },
  };
}
