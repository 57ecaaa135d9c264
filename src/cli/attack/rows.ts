// The rows of the attack table, and why some cannot be judged from outside. Every row is in every report: judged, or with its reason.

/** The rows of each group. Numbers that are missing were never given out. */
const rowGroups: Readonly<Record<string, readonly number[]>> = {
  H: [1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 14, 15, 16, 17, 19, 20],
  P: [1, 2, 3, 4, 6, 7, 9, 10, 11, 13, 14, 15, 17, 19],
  T: [1, 2, 3, 5, 6, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18],
  S: [1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 18],
  W: [1, 2, 3, 4, 5, 7, 8],
  R: [1, 2, 4, 5, 7],
  D: [1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 14, 15, 16, 17],
  X: [1, 2, 4, 5, 6, 8, 9],
  A: [1, 2, 3, 4, 6, 7, 9, 10, 11, 12, 13, 15, 16, 17, 18],
  C: [1, 3, 4, 5, 7, 8, 10, 11],
  M: [1, 2, 4, 5, 6, 7, 9, 10],
  L: [1, 2, 4, 5, 6, 7, 9, 10],
};

export const rowIds: readonly string[] = Object.entries(rowGroups).flatMap(([group, numbers]) => numbers.map((number) => `${group}-${number}`));

const twoPaths = 'needs two paths with different rules, and to see which of them the upstream was asked for';
const badUpstream = 'needs an upstream that misbehaves';
const session = 'needs a session, and this command makes none';

const single: Readonly<Record<string, string>> = {
  'H-5': 'is about configuration',
  'H-6': session,
  'H-7': session,
  'H-11': 'needs the configuration of trusted proxies; H-10 shows what a stranger reaches',
  'H-12': 'needs to be a trusted proxy',
  'H-19': badUpstream,
  'P-1': twoPaths,
  'P-2': twoPaths,
  'P-3': twoPaths,
  'P-4': twoPaths,
  'P-6': twoPaths,
  'P-7': twoPaths,
  'P-9': twoPaths,
  'P-11': twoPaths,
  'P-13': twoPaths,
  'T-1': 'takes thousands of connections',
  'T-8': 'needs a thousand hosts',
  'T-9': 'needs a second host with client certificates',
  'T-10': 'is about configuration',
  'T-12': 'this client cannot send early data',
  'T-15': 'a flood that would order certificates',
  'T-17': badUpstream,
  'T-18': 'takes a hundred thousand connections',
  'S-10': badUpstream,
  'S-17': 'needs to see the connections to the upstream',
  'S-18': 'takes a million requests of two users',
  'W-2': session,
  'W-3': session,
  'W-4': session,
  'W-5': 'needs an open WebSocket, and to see the gateway’s memory',
  'W-7': 'needs an open WebSocket, and to vanish from the network',
  'W-8': 'needs to see the gateway’s memory',
  'R-5': session,
  'R-7': 'is about configuration',
  'C-3': session,
  'C-5': session,
  'C-7': session,
  'C-8': session,
};

const whole: Readonly<Record<string, string>> = {
  A: 'is about signing in, which this command does not try',
  D: 'not run: a flood, or a process pushed to its limits',
  L: 'is about logs, files and timing, which are judged from inside',
  M: 'is about the management API, which this command does not attack',
  X: 'is about what gateway and agent dial, which is judged from inside',
};

/** Why a row that has no probe is not judged. */
export function whyNotJudged(id: string): string {
  return single[id] ?? whole[id.slice(0, 1)] ?? 'has no probe';
}
