// Hours of a week in their time zones: whether now is within, and when that changes.
import type { TimeWindow } from '#model/access.ts';

const dayMinutes = 1_440;
const weekMinutes = 7 * dayMinutes;
/** Offsets of time zones change at whole quarters of an hour. */
const quarterMs = 900_000;

/** One time zone's distance from UTC, asked for once in a quarter of an hour. */
class Zone {
  readonly #format: Intl.DateTimeFormat;
  #from = Infinity;
  #offsetMinutes = 0;

  constructor(timeZone: string) {
    this.#format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
    });
  }

  /** Minutes since Monday 00:00 there. */
  minuteOfWeek(wall: number): number {
    if (wall < this.#from || wall >= this.#from + quarterMs) {
      this.#from = Math.floor(wall / quarterMs) * quarterMs;
      this.#offsetMinutes = this.#offset(this.#from);
    }
    const minutes = Math.floor(wall / 60_000) + this.#offsetMinutes;
    // 1970-01-01 was a Thursday.
    return (((minutes + 3 * dayMinutes) % weekMinutes) + weekMinutes) % weekMinutes;
  }

  #offset(wall: number): number {
    const parts = new Map(this.#format.formatToParts(wall).map(({ type, value }) => [type, Number(value)]));
    const part = (name: Intl.DateTimeFormatPartTypes): number => parts.get(name) ?? 0;
    const there = Date.UTC(part('year'), part('month') - 1, part('day'), part('hour'), part('minute'));
    return Math.round((there - wall) / 60_000);
  }
}

const zones = new Map<string, Zone | undefined>();
/** Names of time zones that are kept; there are some six hundred. */
const zonesMost = 1_000;

function zoneOf(name: string): Zone | undefined {
  if (zones.has(name)) return zones.get(name);
  let zone: Zone | undefined;
  try {
    zone = new Zone(name);
  } catch {
    // Not known to this machine: what it says cannot be told.
  }
  if (zones.size < zonesMost) zones.set(name, zone);
  return zone;
}

/** Windows of one rule. */
export class WeekTimes {
  readonly #windows: readonly { readonly zone: Zone | undefined; readonly days: readonly number[]; readonly from: number; readonly to: number }[];

  constructor(windows: readonly TimeWindow[]) {
    this.#windows = windows.map(({ days, from, to, timeZone }) => ({
      // Nothing is not everything.
      zone: from === to ? undefined : zoneOf(timeZone),
      days: days.length === 0 ? [1, 2, 3, 4, 5, 6, 7] : days,
      from,
      // One that ends before it begins goes on to the next day.
      to: to > from ? to : to + dayMinutes,
    }));
  }

  /** Undefined where it cannot be told: a time zone is not known here, and no other window holds. */
  hold(wall: number): boolean | undefined {
    let unknown = false;
    for (const { zone, days, from, to } of this.#windows) {
      if (zone === undefined) {
        unknown = true;
        continue;
      }
      const now = zone.minuteOfWeek(wall);
      for (const day of days) {
        const since = (now - (day - 1) * dayMinutes + weekMinutes) % weekMinutes;
        // Sunday's window may reach into Monday, which the remainder has joined.
        if (since >= from && since < to) return true;
      }
    }
    return unknown ? undefined : false;
  }
}
