// Our own part of a service's body: who may use it beyond NetBird's shapes. What spans several fields is the domain's to check.
import { boolean, convert, duration, integer, list, object, oneOf, optional, type Schema, string } from '#lib/schema.ts';
import {
  type AccessCondition,
  type AccessPolicy,
  plainAccess,
  type ProofAlternatives,
  proofKinds,
  rateKeys,
  ruleActions,
  type TimeWindow,
} from '#model/access.ts';
import { groupIds } from './fields.ts';

const proofs = (): Schema<ProofAlternatives> => list(list(oneOf(proofKinds), { max: 10 }), { default: [], max: 16 });

const texts = (max: number): Schema<readonly string[]> => list(string({ max }), { default: [], max: 200 });

const clock = (): Schema<number> =>
  convert(string({ pattern: /^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$/, hint: 'must be a time such as 08:00' }), (text) => {
    const [hours = '', minutes = ''] = text.split(':');
    return Number(hours) * 60 + Number(minutes);
  });

const time: Schema<TimeWindow> = convert(
  object({
    days: list(integer({ min: 1, max: 7 }), { default: [], max: 7 }),
    from: clock(),
    to: clock(),
    time_zone: string({ max: 64, default: 'UTC' }),
  }),
  ({ days, from, to, time_zone }) => ({ days, from, to, timeZone: time_zone }),
);

const condition: Schema<AccessCondition> = object({
  paths: texts(1024),
  methods: convert(texts(32), (names) => names.map((name) => name.toUpperCase())),
  addresses: texts(49),
  countries: convert(texts(2), (codes) => codes.map((code) => code.toUpperCase())),
  networks: list(integer({ min: 1, max: 4_294_967_295 }), { default: [], max: 200 }),
  times: list(time, { default: [], max: 50 }),
  users: texts(320),
  groups: groupIds(),
  claims: list(object({ name: string({ max: 128 }), value: string({ min: 0, max: 1024 }) }), { default: [], max: 50 }),
});

const rule = object({
  name: string({ max: 64 }),
  action: oneOf(ruleActions),
  observe: boolean({ default: false }),
  when: condition,
  proofs: proofs(),
});

const rateLimit = convert(
  object({
    per: oneOf(rateKeys),
    count: integer({ min: 1, max: 1_000_000 }),
    in: duration({ minMs: 1_000, maxMs: 86_400_000 }),
    burst: optional(integer({ min: 1, max: 1_000_000 })),
  }),
  ({ per, count, in: perMs, burst }) => ({ key: per, count, perMs, burst: burst ?? count }),
);

const sessionTime = (): Schema<number | undefined> => optional(duration({ minMs: 60_000, maxMs: 180 * 86_400_000 }));

export const accessRequest: Schema<AccessPolicy> = convert(
  object({
    proofs: proofs(),
    rules: list(rule, { default: [], max: 200 }),
    otherwise: oneOf(['allow', 'deny'], { default: plainAccess.otherwise }),
    rate_limits: list(rateLimit, { default: [], max: 16 }),
    devices: boolean({ default: plainAccess.devices }),
    session: optional(object({ max_age: sessionTime(), idle: sessionTime() })),
  }),
  ({ rate_limits, session, ...rest }) => ({
    ...rest,
    headers: [],
    rateLimits: rate_limits,
    session: { maxAgeMs: session?.max_age, idleMs: session?.idle },
  }),
);
