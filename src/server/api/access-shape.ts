// Who may use a service as the API answers it: in the form in which it may be sent again.
import { type AccessCondition, type AccessPolicy, type AccessRule, plainAccess, type TimeWindow } from '#model/access.ts';
import { present } from './fields.ts';
import { durationText } from './web-shape.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Undefined where nothing is asked for beyond NetBird's shapes: its own consumers of this API see what they know. */
export function accessShape(access: AccessPolicy): Fields | undefined {
  const { proofs, rules, otherwise, rateLimits, devices, session } = access;
  const shape = present({
    proofs: proofs.length === 0 ? undefined : proofs,
    rules: rules.length === 0 ? undefined : rules.map(ruleShape),
    otherwise: otherwise === plainAccess.otherwise ? undefined : otherwise,
    rate_limits:
      rateLimits.length === 0 ? undefined : rateLimits.map(({ key, count, perMs, burst }) => ({ per: key, count, in: durationText(perMs), burst })),
    devices: devices || undefined,
    session:
      session.maxAgeMs === undefined && session.idleMs === undefined
        ? undefined
        : present({ max_age: durationText(session.maxAgeMs), idle: durationText(session.idleMs) }),
  });
  return Object.keys(shape).length === 0 ? undefined : shape;
}

function ruleShape({ name, action, observe, when, proofs }: AccessRule): Fields {
  return present({ name, action, observe, when: conditionShape(when), proofs: proofs.length === 0 ? undefined : proofs });
}

function conditionShape({ times, ...lists }: AccessCondition): Fields {
  const named = Object.entries({ ...lists, times: times.map(timeShape) }).filter(([, entries]) => entries.length > 0);
  return Object.fromEntries(named);
}

function timeShape({ days, from, to, timeZone }: TimeWindow): Fields {
  return { days, from: clockText(from), to: clockText(to), time_zone: timeZone };
}

function clockText(minutes: number): string {
  return `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`;
}
