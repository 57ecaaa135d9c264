// Packet scripts: a file per TCP state, a script per heading. A script is a list of lines:
//
//   == what it shows                                a new script: a fresh stack, and a peer that the lines write
//   connect | listen | write 1000 | end | abort     a call of the stack's owner; also `stop` and `resume` reading, `refuse` (listen, admit nobody)
//   < S 0:0(0) win 65535 <mss 1240,ws 7,sackok>     the peer sends; numbers count from each side's first
//   > S. 0:0(0) ack 1 <mss 1240>                    the stack has sent this, next and by now; what is not written is not looked at
//   +0.2 > . 1:1(0) ack 1                           the same, and it goes out after 0.2 seconds, not before
//   +1 none                                         a second passes, and nothing is sent
//   < icmp too-big 1300 about 1:1241                an ICMP error about a segment of ours
//   is established | open 1 | received 5 | ended    what the owner knows; also `end ECONNRESET`, `end none`, `taken 500` (of the last write)
//
// Flags are S F R P and . for ACK. Options: mss, ws, sackok, ts VALUE[:ECHO], sack A:B C:D. `#` begins a comment.
import { readFileSync } from 'node:fs';
import type { Test } from 'tap';
import { buildIcmpAbout } from '../icmp-about.ts';
import { Script } from '../script.ts';
import type { Seen, Sent } from '../script.ts';

/** How far a timer may be off: so many milliseconds and this part of it. */
const SLACK_MS = 1.5;
const SLACK_PART = 0.002;

export interface ScriptText {
  readonly name: string;
  readonly lines: readonly { readonly number: number; readonly text: string }[];
}

export function readScripts(path: string): readonly ScriptText[] {
  const scripts: { name: string; lines: { number: number; text: string }[] }[] = [];
  for (const [index, raw] of readFileSync(path, 'utf8').split('\n').entries()) {
    const text = raw.replace(/#.*$/, '').trim();
    if (text.startsWith('==')) scripts.push({ name: text.slice(2).trim(), lines: [] });
    else if (text !== '') scripts.at(-1)?.lines.push({ number: index + 1, text });
  }
  return scripts;
}

interface Packet {
  readonly flags: string;
  readonly seq: number;
  readonly length: number;
  readonly ack: number | undefined;
  readonly window: number | undefined;
  readonly mss: number | undefined;
  readonly scale: number | undefined;
  readonly sackPermitted: boolean;
  readonly stamp: { readonly value: number | undefined; readonly echo: number | undefined } | undefined;
  readonly sack: readonly number[];
}

const PACKET =
  /^(?<flags>[SFRP.]+) (?<seq>-?\d+):(?<end>-?\d+)\((?<length>\d+)\)(?: ack (?<ack>-?\d+))?(?: win (?<win>\d+))?(?: <(?<options>[^>]*)>)?$/;

function parsePacket(text: string): Packet {
  const groups = PACKET.exec(text)?.groups;
  if (groups === undefined) throw new TypeError(`no packet: ${text}`);
  const options = new Map(
    (groups['options'] ?? '').split(',').map((option) => [option.trim().split(' ')[0] ?? '', option.trim().split(' ').slice(1)]),
  );
  const number = (name: string): number | undefined => (options.get(name)?.[0] === undefined ? undefined : Number(options.get(name)?.[0]));
  const [value, echo] = options.get('ts')?.[0]?.split(':') ?? [];
  return {
    flags: groups['flags'] ?? '',
    seq: Number(groups['seq']),
    length: Number(groups['length']),
    ack: groups['ack'] === undefined ? undefined : Number(groups['ack']),
    window: groups['win'] === undefined ? undefined : Number(groups['win']),
    mss: number('mss'),
    scale: number('ws'),
    sackPermitted: options.has('sackok'),
    stamp: options.has('ts')
      ? { value: value === undefined ? undefined : Number(value), echo: echo === undefined ? undefined : Number(echo) }
      : undefined,
    sack: (options.get('sack') ?? []).flatMap((range) => range.split(':').map(Number)),
  };
}

/** The flags as `Script` spells them. */
function lettersOf(flags: string): string {
  return ['S', 'F', 'R', 'P', '.'].map((flag) => (flags.includes(flag) ? (flag === '.' ? 'A' : flag) : '')).join('');
}

function sentOf(packet: Packet): Sent {
  return {
    flags: lettersOf(packet.flags),
    seq: packet.seq,
    data: packet.length,
    ...(packet.ack === undefined ? {} : { ack: packet.ack }),
    ...(packet.window === undefined ? {} : { window: packet.window }),
    ...(packet.mss === undefined ? {} : { mss: packet.mss }),
    ...(packet.scale === undefined ? {} : { scale: packet.scale }),
    ...(packet.sackPermitted ? { sackPermitted: true } : {}),
    ...(packet.stamp?.value === undefined ? {} : { tsValue: packet.stamp.value }),
    ...(packet.stamp?.echo === undefined ? {} : { tsEcho: packet.stamp.echo }),
    ...(packet.sack.length === 0 ? {} : { sack: packet.sack }),
  };
}

function describe(seen: Seen): string {
  const flags = seen.flags.replace('A', '.');
  const sack = seen.sack.length === 0 ? '' : ` sack ${seen.sack.join(':')}`;
  return `${flags} ${seen.seq}:${seen.seq + seen.length}(${seen.length}) ack ${seen.ack} win ${seen.window}${sack}`;
}

function matches(seen: Seen, want: Packet): boolean {
  const order = (letters: string): string => letters.split('').toSorted().join('');
  return (
    order(seen.flags) === order(lettersOf(want.flags)) &&
    seen.seq === want.seq &&
    seen.length === want.length &&
    (want.ack === undefined || seen.ack === want.ack) &&
    (want.window === undefined || seen.window === want.window) &&
    (want.mss === undefined || seen.mss === want.mss) &&
    (want.scale === undefined || seen.scale === want.scale) &&
    (!want.sackPermitted || seen.sackPermitted) &&
    (want.stamp === undefined || seen.hasTimestamps) &&
    (want.stamp?.echo === undefined || seen.tsEcho === want.stamp.echo) &&
    (want.sack.length === 0 || want.sack.join() === seen.sack.join())
  );
}

/** Runs one script; the first line that does not hold fails the test with its number. */
export function runScript(t: Test, script: ScriptText): void {
  const run = new Run();
  for (const { number, text } of script.lines) {
    const wrong = run.line(text);
    if (wrong !== undefined) {
      t.fail(`line ${number}: ${text}: ${wrong}`);
      return;
    }
  }
  t.pass(script.name);
}

class Run {
  readonly #script = new Script();
  readonly #pending: Seen[] = [];
  #taken = 0;

  /** What is wrong with the line, or undefined. */
  line(text: string): string | undefined {
    const delay = /^\+(?<seconds>[\d.]+) (?<rest>.*)$/.exec(text)?.groups;
    const rest = delay?.['rest'] ?? text;
    const ms = Number(delay?.['seconds'] ?? 0) * 1000;
    if (rest.startsWith('> ')) return this.#expect(parsePacket(rest.slice(2)), ms, delay !== undefined);
    if (rest === 'none') {
      this.#pass(ms);
      return this.#pending.length === 0 ? undefined : `sent ${this.#pending.map(describe).join('; ')}`;
    }
    this.#pass(ms);
    if (rest.startsWith('< ')) return this.#send(rest.slice(2));
    if (rest.startsWith('is ')) return this.#check(rest.slice(3));
    this.#call(rest);
    return undefined;
  }

  #pass(ms: number): void {
    this.#pending.push(...this.#script.take(), ...this.#script.pass(ms));
  }

  #expect(want: Packet, ms: number, timed: boolean): string | undefined {
    const s = this.#script;
    this.#pending.push(...s.take());
    if (timed) {
      if (this.#pending.length > 0) return `sent before: ${this.#pending.map(describe).join('; ')}`;
      const slack = SLACK_MS + ms * SLACK_PART;
      const latest = s.now + ms + slack;
      const early = s.pass(Math.max(0, ms - slack));
      if (early.length > 0) return `too early: ${early.map(describe).join('; ')}`;
      // One timer at a time, so that the next delay counts from when this went out.
      for (let at = s.stack.pollAt(); this.#pending.length === 0 && at <= latest; at = s.stack.pollAt()) {
        this.#pending.push(...s.pass(Math.max(0, at - s.now)));
      }
    } else if (this.#pending.length === 0) {
      this.#pending.push(...s.pass(0));
    }
    const seen = this.#pending.shift();
    if (seen === undefined) return 'nothing was sent';
    return matches(seen, want) ? undefined : `sent ${describe(seen)}`;
  }

  #send(text: string): string | undefined {
    const unread = this.#pending.map(describe).join('; ');
    if (unread !== '') return `was not expected before: ${unread}`;
    const icmp = /^icmp (?<kind>[a-z-]+)(?: (?<mtu>\d+))? about (?<seq>-?\d+):/.exec(text)?.groups;
    const s = this.#script;
    if (icmp === undefined) {
      this.#pending.push(...s.send(sentOf(parsePacket(text))));
      return undefined;
    }
    s.stack.receivePacket(buildIcmpAbout(s, icmp['kind'] ?? '', Number(icmp['mtu'] ?? 0), Number(icmp['seq'])), s.now);
    this.#pending.push(...s.take());
    return undefined;
  }

  #call(text: string): void {
    const s = this.#script;
    const [verb = '', argument] = text.split(' ');
    switch (verb) {
      case 'connect':
        this.#pending.push(s.connect());
        return;
      case 'listen':
        return s.listen();
      case 'refuse':
        return s.listen(() => false);
      case 'write':
        this.#taken = s.write(Number(argument));
        return;
      case 'end':
        return s.connection.end(s.now);
      case 'abort':
        return s.connection.abort(s.now);
      case 'stop':
        s.endpoint.reading = false;
        return;
      case 'resume':
        return s.endpoint.resume(s.now);
      case 'stamps':
        s.stamps = argument === 'on';
        return;
      default:
        throw new TypeError(`no such line: ${text}`);
    }
  }

  #check(text: string): string | undefined {
    const { endpoint, stack } = this.#script;
    const [what, value] = text.split(' ');
    const facts: Readonly<Record<string, unknown>> = {
      established: endpoint.isEstablished,
      ended: endpoint.ended,
      open: stack.connectionCount(),
      received: endpoint.received,
      end: endpoint.end ?? 'none',
      taken: this.#taken,
      quiet: stack.pollAt() === Infinity,
    };
    if (what === undefined || !(what in facts)) throw new TypeError(`no such fact: ${text}`);
    const fact = String(facts[what]);
    return fact === (value ?? 'true') ? undefined : `is ${fact}`;
  }
}
