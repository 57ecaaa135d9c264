// Many services and certificates in one gateway: what a look-up, a change and an idle service cost.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import type { ServiceMapping } from '#model/service.ts';
import { buildRouteTable, readCertificate, RouteTable, type Certificate } from '#publish/index.ts';
import { emptyFields } from '#wire/http1-fields.ts';
import { Mappings } from '../../../src/gateway/routes/mappings.ts';
import { findRoute } from '../../../src/publish/http/routes.ts';
import { mapping } from '../../gateway/mappings.ts';
import { createTestCa } from '../../support/test-ca.ts';
import { answerQuestions } from './asking.ts';

export interface ScaleFigures {
  /** Nanoseconds from a Host value to its route: ten services of ten, ten of many, and all of many in turn, whose memory is cold. */
  readonly fewNs: number;
  readonly manyNs: number;
  readonly coldNs: number;
  /** Milliseconds until a change is in force, and until it is on disk: the slowest of all. */
  readonly appliedMs: number;
  readonly keptMs: number;
  /** Milliseconds for a whole snapshot. */
  readonly snapshotMs: number;
  /** Bytes kept for a service that nobody asks for, and for its certificate. */
  readonly serviceBytes: number;
  readonly certificateBytes: number;
}

const few = 10;
const changes = 20;

/** As it comes from the control plane: parsed, sharing nothing. */
function received(id: string): ServiceMapping {
  return JSON.parse(JSON.stringify(mapping(id))) as ServiceMapping;
}

async function kept(): Promise<number> {
  for (let i = 0; i < 4; i++) {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const plainGet = { method: 'GET', fields: emptyFields() };

/** Nanoseconds a look-up, best of some rounds. */
function lookUp(table: RouteTable, hosts: readonly string[]): number {
  let best = Infinity;
  let found = 0;
  const each = 20_000;
  const lines = hosts.map((host) => `Host: ${host}\r\n`);
  for (let round = 0; round < 60; round++) {
    const start = performance.now();
    for (let i = 0; i < each; i++) {
      // As from a request's head: text whose hash nobody has worked out yet.
      const host = table.host(lines[(i * 7_919) % hosts.length]?.slice(6, -2) ?? '');
      const service = host === undefined ? undefined : table.service(host);
      if (service !== undefined && findRoute(service, '/1k', plainGet) !== undefined) found++;
    }
    best = Math.min(best, ((performance.now() - start) / each) * 1e6);
  }
  if (found !== each * 60) throw new Error('a route was not found');
  return best;
}

interface Served {
  readonly mappings: Mappings;
  readonly table: RouteTable;
}

function serve(directory: string): Served {
  const table = new RouteTable();
  const mappings = new Mappings(
    directory,
    { clock: systemClock, log: silentLogger },
    {
      set: (changed) => table.set(changed),
      removed: ({ id }) => table.remove(id),
      settled: () => undefined,
    },
  );
  return { mappings, table };
}

async function loadCertificates(names: readonly string[]): Promise<readonly Certificate[]> {
  const ca = await createTestCa();
  const certificates: Certificate[] = [];
  for (const name of names) {
    const { certPem, keyPem } = await ca.issue([`${name}.example.com`]);
    // As files are read: flat text of one byte a character.
    const found = readCertificate(name, Buffer.from(certPem).toString('latin1'), Buffer.from(keyPem).toString('latin1'));
    if ('problem' in found) throw new Error(found.problem);
    certificates.push(found);
  }
  return certificates;
}

/** The slowest of some changes: until it is in force, and until it is on disk. */
async function change({ mappings }: Served, inForce: (host: string) => boolean): Promise<{ readonly appliedMs: number; readonly keptMs: number }> {
  let appliedMs = 0;
  let keptMs = 0;
  for (let i = 0; i < changes; i++) {
    const start = performance.now();
    const done = mappings.apply({ kind: 'set', mapping: received(`added${i}`) });
    while (!inForce(`added${i}.example.com`)) await new Promise((resolve) => setImmediate(resolve));
    appliedMs = Math.max(appliedMs, performance.now() - start);
    await done;
    keptMs = Math.max(keptMs, performance.now() - start);
  }
  return { appliedMs, keptMs };
}

/** What is held, and by nobody else, so that letting go of it frees it. */
const held: { served?: Served | undefined; certificates?: readonly Certificate[] | undefined } = {};

async function times(directory: string, names: readonly string[]): Promise<Omit<ScaleFigures, 'serviceBytes' | 'certificateBytes'>> {
  const hostsOf = (of: readonly string[]): readonly string[] => of.map((name) => `${name}.example.com`);
  const fewNames = Array.from({ length: few }, (_value, i) => `few${i}`);
  const served = serve(directory);
  held.served = served;
  const start = performance.now();
  await served.mappings.apply({ kind: 'snapshot-begin' });
  for (const name of names) await served.mappings.apply({ kind: 'set', mapping: received(name) });
  await served.mappings.apply({ kind: 'snapshot-complete' });
  const snapshotMs = performance.now() - start;
  const changed = await change(served, (host) => served.table.service(host) !== undefined);
  const fewNs = lookUp(buildRouteTable(fewNames.map(received)), hostsOf(fewNames));
  const hosts = hostsOf(names);
  return { fewNs, manyNs: lookUp(served.table, hosts.slice(0, few)), coldNs: lookUp(served.table, hosts), snapshotMs, ...changed };
}

async function measure({ services }: { readonly services: number }): Promise<ScaleFigures> {
  const directory = await mkdtemp(join(tmpdir(), 'mg-scale-'));
  try {
    const names = Array.from({ length: services }, (_value, i) => `service${i}`);
    const figures = await times(directory, names);
    held.certificates = await loadCertificates(names);
    const all = await kept();
    held.certificates = undefined;
    const withoutCertificates = await kept();
    held.served = undefined;
    const without = await kept();
    return { ...figures, certificateBytes: (all - withoutCertificates) / services, serviceBytes: (withoutCertificates - without) / services };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

answerQuestions({ measure });
