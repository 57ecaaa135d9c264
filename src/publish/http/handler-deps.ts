// What the handler of exchanges works with.
import type { Clock } from '#lib/clock.ts';
import type { IpPrefix } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { DeviceAuthority } from '#model/identity.ts';
import type { AccessBackend, IdentityHeaders, SignIn } from '../access/backend.ts';
import type { Surroundings } from '../access/surroundings.ts';
import type { Pages } from '../pages/document.ts';
import type { Unlocks } from '../stream/unlocks.ts';
import type { Tracing } from '../tracing/trace-context.ts';
import type { DiagnosisAuthority } from './diagnose.ts';
import type { ForwardDeps } from './forward.ts';
import type { OpenStreams } from './open-streams.ts';
import type { Refusals } from './refusals.ts';
import type { IdSource } from './request-id.ts';
import type { RouteTable } from './routes.ts';
import type { ServiceLoad } from './service-load.ts';

export interface HandlerDeps {
  /** Ports of stream services that are open for somebody. */
  readonly unlocks: Unlocks;
  readonly routes: () => RouteTable;
  readonly backend: AccessBackend;
  readonly around: Surroundings;
  readonly signIn: SignIn;
  readonly devices: DeviceAuthority;
  readonly identityHeaders: IdentityHeaders;
  /** Left out, no diagnosis is made. */
  readonly diagnoses: DiagnosisAuthority | undefined;
  readonly pages: Pages;
  readonly trustedProxies: readonly IpPrefix[];
  readonly accessLog: (entry: AccessLogEntry) => void;
  readonly refusals: Refusals;
  readonly log: Logger;
  readonly clock: Clock;
  readonly forward: ForwardDeps;
  readonly streams: OpenStreams;
  readonly load: ServiceLoad;
  readonly ids: IdSource;
  /** Undefined where no traces are made: what clients say of them is forwarded like any other field then. */
  readonly tracing: Tracing | undefined;
}
