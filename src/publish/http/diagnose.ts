// `meshgate doctor` asks a gateway for the way of a request without sending one: every stage is run as for a visitor from the same address, and
// each target is asked how it is. Only who shows a one-time token of the control plane is answered.
import type { Clock } from '#lib/clock.ts';
import { describeError, errorCode } from '#lib/errors.ts';
import type { ServiceId } from '#model/ids.ts';
import { fieldValue } from '#wire/http1-fields.ts';
import type { Verdict } from '../access/check.ts';
import { doorChecks, proofChecks, runChecks } from '../access/pipeline.ts';
import { readSubject, type Subject } from '../access/subject.ts';
import { DIAGNOSES, DIAGNOSIS_MS, DIAGNOSIS_TARGETS } from '../constants.ts';
import { fixOf } from '../pages/fixes.ts';
import type { OwnReason } from '../pages/reasons.ts';
import { failedStage } from '../pages/stages.ts';
import { ProbeFailure, probeTarget } from './balance/target-probe.ts';
import { dialReason } from './dial-reason.ts';
import type { Exchange } from './exchange.ts';
import { RequestInput, type RequestInputDeps } from './request-input.ts';
import type { RouteTable, RouteTarget } from './routes.ts';
import type { Upstreams } from './upstreams.ts';

const diagnosisPath = '/.meshgate/diagnosis';
const tokenField = 'x-meshgate-diagnosis';

/** Whose tokens they are: the control plane's. */
export interface DiagnosisAuthority {
  /** Uses the token up. */
  redeemDiagnosis(token: string, serviceId: ServiceId, signal: AbortSignal): Promise<boolean>;
}

export interface DiagnoseDeps extends RequestInputDeps {
  readonly diagnoses: DiagnosisAuthority | undefined;
  readonly routes: () => RouteTable;
  readonly clock: Clock;
  readonly forward: RequestInputDeps['forward'] & { readonly upstreams: Upstreams };
}

export interface Step {
  readonly stage: string;
  readonly ok: boolean;
  readonly text: string;
  readonly ms?: number;
  readonly fix?: string | undefined;
}

/** The token, where the request asks for a diagnosis: 32 bytes in base64url. */
export function diagnosisToken({ path, service, request }: Subject): string | undefined {
  const token = path === diagnosisPath && service !== undefined ? fieldValue(request.fields, tokenField) : undefined;
  return token !== undefined && /^[\w-]{43}$/.test(token) ? token : undefined;
}

/** Beyond so many questions at once no token is good: strangers can send some too. */
export class LimitedDiagnoses implements DiagnosisAuthority {
  readonly #authority: DiagnosisAuthority;
  #asked = 0;

  constructor(authority: DiagnosisAuthority) {
    this.#authority = authority;
  }

  async redeemDiagnosis(token: string, serviceId: ServiceId, signal: AbortSignal): Promise<boolean> {
    if (this.#asked >= DIAGNOSES) return false;
    this.#asked++;
    try {
      return await this.#authority.redeemDiagnosis(token, serviceId, signal);
    } finally {
      this.#asked--;
    }
  }
}

/** The steps, or undefined where the token is not good. Never rejects. */
export async function diagnose(exchange: Exchange, subject: Subject, token: string, deps: DiagnoseDeps): Promise<readonly Step[] | undefined> {
  const signal = AbortSignal.timeout(DIAGNOSIS_MS);
  const { service } = subject;
  if (service === undefined || deps.diagnoses === undefined) return undefined;
  try {
    if (!(await deps.diagnoses.redeemDiagnosis(token, service.id, signal))) return undefined;
  } catch {
    return undefined;
  }
  const wanted = new URLSearchParams(subject.query).get('path') ?? '/';
  const visit = readSubject({ ...exchange.request, method: 'GET', target: wanted }, subject, subject.address, deps.routes());
  if (typeof visit === 'string') return [{ stage: 'route', ok: false, text: visit }];
  const from = subject.address === undefined ? 'an unknown address' : 'your address';
  const input = new RequestInput(visit, deps);
  const door = await runChecks(doorChecks, input);
  if (door !== undefined) return [refused(door)];
  const steps: Step[] = [{ stage: 'route', ok: true, text: `${visit.host}${visit.path} is served` }];
  const proof = await runChecks(proofChecks, input);
  // Who is not signed in is asked to be: that is as it should be.
  if (proof?.kind === 'deny') return [...steps, refused(proof)];
  steps.push({ stage: 'access', ok: true, text: proof?.kind === 'allow' ? `${from} passes: ${proof.reason}` : 'a visitor has to sign in' });
  const { route } = visit;
  if (route?.kind !== 'forward') return [...steps, { stage: 'upstream', ok: true, text: 'the gateway answers by itself' }];
  const asked = route.targets.slice(0, DIAGNOSIS_TARGETS).map((target) => stepOf(target, visit.host, deps, signal));
  return [...steps, ...(await Promise.all(asked))];
}

async function stepOf(target: RouteTarget, host: string, { clock, forward }: DiagnoseDeps, signal: AbortSignal): Promise<Step> {
  const { address } = target.upstream;
  const begun = clock.now();
  try {
    const status = await probeTarget(forward.upstreams, target, `${target.basePath}/`, host, signal);
    return { stage: 'upstream', ok: true, text: `${address} answers, status ${status}`, ms: clock.now() - begun };
  } catch (error) {
    const answered = error instanceof ProbeFailure ? (`upstream_${error.failure}` as const) : undefined;
    const reason: OwnReason = signal.aborted ? 'upstream_timeout' : (answered ?? dialReason(error));
    const detail = `${errorCode(error) ?? ''} ${describeError(error)}`.trim();
    const ms = clock.now() - begun;
    return { stage: failedStage(reason, detail) ?? 'upstream', ok: false, text: `${address}: ${reason}, ${detail}`, ms, fix: fixOf(reason)?.en };
  }
}

function refused(verdict: Verdict): Step {
  if (verdict.kind === 'allow') return { stage: 'access', ok: true, text: verdict.reason };
  const detail = verdict.kind === 'deny' && verdict.detail !== '' ? `: ${verdict.detail}` : '';
  return { stage: failedStage(verdict.reason, '') ?? 'access', ok: false, text: `${verdict.reason}${detail}`, fix: fixOf(verdict.reason)?.en };
}
