// The stages of a request's way, and at which of them it ended: what an administrator is told, on the page, in the log and by `meshgate doctor`.
import { stageOf } from '../accesslog/stages.ts';
import type { Text } from './language.ts';
import type { OwnReason } from './reasons.ts';

/** In the order of the way. */
export const stages = ['tls', 'route', 'access', 'path', 'dial', 'upstream'] as const;
export type Stage = (typeof stages)[number];

export interface StageRecord {
  readonly stage: Stage;
  readonly outcome: 'passed' | 'failed' | 'not_reached';
  /** Milliseconds, where they are known. */
  readonly ms: number | undefined;
}

/** Why a request failed, for whoever may know. */
export interface Diagnosis {
  readonly id: string;
  readonly stages: readonly StageRecord[];
  /** Undefined where all went well. */
  readonly failed: { readonly stage: Stage; readonly reason: OwnReason; readonly detail: string } | undefined;
  /** Where the request was sent to, `host:port`; undefined where it did not come so far. */
  readonly upstream: string | undefined;
}

/** The stage that a reason belongs to; undefined for what is no failure. `detail` tells a missing path of the mesh from a dead target. */
export function failedStage(reason: OwnReason, detail: string): Stage | undefined {
  if (reason === 'host_mismatch') return 'tls';
  const stage = stageOf(reason);
  switch (stage) {
    case undefined:
    case 'client':
      return undefined;
    case 'request':
    case 'route':
    case 'gateway':
      return 'route';
    case 'access':
    case 'sign_in':
      return 'access';
    case 'dial':
      return reason === 'upstream_unreachable' && noPath.test(detail) ? 'path' : 'dial';
    case 'upstream':
      return 'upstream';
  }
}

/** What the overlay says where nothing leads to the target: see overlay/errors.ts, and forward.ts for a path that was lost. */
const noPath = /^(?:EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|EAI_AGAIN)\b|^the path to it/;

/** The times that a request's own clock has, each undefined where it did not come so far. */
export interface StageTimes {
  readonly accessMs: number | undefined;
  readonly dialMs: number | undefined;
  readonly firstByteMs: number | undefined;
}

/** Of a request that ended so. */
export function diagnosisOf(id: string, reason: OwnReason, detail: string, times: StageTimes, upstream: string | undefined): Diagnosis {
  const stage = failedStage(reason, detail);
  return { id, stages: stageRecords(stage, times), failed: stage === undefined ? undefined : { stage, reason, detail }, upstream };
}

/** The record of a way that ended at `failed`, or of one that came through. */
function stageRecords(failed: Stage | undefined, { accessMs, dialMs, firstByteMs }: StageTimes): readonly StageRecord[] {
  const ms: Readonly<Record<Stage, number | undefined>> = {
    tls: undefined,
    route: undefined,
    access: accessMs,
    path: undefined,
    dial: dialMs,
    upstream: firstByteMs,
  };
  const end = failed === undefined ? stages.length : stages.indexOf(failed);
  return stages.map((stage, i) => ({
    stage,
    outcome: i < end ? 'passed' : i === end ? 'failed' : 'not_reached',
    ms: i <= end ? ms[stage] : undefined,
  }));
}

export const stageNames: Readonly<Record<Stage, Text>> = {
  tls: { en: 'TLS', de: 'TLS' },
  route: { en: 'Host and path', de: 'Host und Pfad' },
  access: { en: 'Access policy', de: 'Zugangsregeln' },
  path: { en: 'Path through the mesh', de: 'Weg durch das Mesh' },
  dial: { en: 'Connection to the target', de: 'Verbindung zum Ziel' },
  upstream: { en: 'Answer of the target', de: 'Antwort des Ziels' },
};
