// Headers and basic authentication, from the request to the upstream: with the control domain and the publisher of the product.
import t from 'tap';
import { until } from '../attacks/harness.ts';
import { openFrontDoor, Visitor, type FrontDoor, type Seen } from '../support/front-door.ts';

const header = { enabled: true, header: 'X-Api-Key', value: 'key one' };
const basic = {
  enabled: true,
  users: [
    { name: 'ann', password: 'p:ss:word' },
    { name: 'Zoë', password: 'grün🌱' },
  ],
};
const pair = (text: string, encoding: BufferEncoding = 'utf8'): string => Buffer.from(text, encoding).toString('base64');
const program = 'Accept: application/json';

async function ask(door: FrontDoor, fields: readonly string[], address = '192.0.2.1'): Promise<Seen> {
  return await new Visitor(door, address).ask('/x', { fields: [program, ...fields] });
}

void t.test('a header opens the service, and ends at the gateway unless it is meant to go on', async (t) => {
  const door = await openFrontDoor(t, { headers: [header, { ...header, header: 'X-Both', value: 'go', keep: true }] });
  t.match(await ask(door, []), { status: 401, text: /"proofs":\[\["header"\]\]/ });
  t.match(await ask(door, ['X-Api-Key: key two']), { status: 401, text: /"reason":"credential_invalid"/ });
  t.match(await ask(door, ['X-Api-Key: key one', 'X-Api-Key: key one']), { status: 401 }, 'twice is ambiguous');
  t.match(await ask(door, ['X-Api-Key: key one', 'X-Both: wrong']), { status: 401 }, 'one that is wrong denies');
  t.equal(door.recorder.bytes(), 0);
  t.equal((await ask(door, ['x-api-key: key one', 'X-Other: 1'])).status, 200);
  t.notMatch(door.recorder.requests[0], /key one|^X-Api-Key:/im);
  t.match(door.recorder.requests[0], /X-Other: 1\r\n[^]*X-Meshgate-User: header:x-api-key\r\n/);
  t.equal((await ask(door, ['X-Both: go'])).status, 200);
  t.match(door.recorder.requests[1], /X-Both: go\r\n/);
  t.match(door.fixture.entries.at(-1), { userId: 'header:x-both', authMethod: 'header', authSuccess: true, reason: 'credential' });
  t.notMatch(JSON.stringify(door.fixture.entries), /key one/);
});

void t.test('basic authentication reads names and passwords as they are meant, and nothing of it goes on', async (t) => {
  const door = await openFrontDoor(t, { basic });
  const page = await new Visitor(door).ask('/x');
  t.match(page, { status: 401, text: /^WWW-Authenticate: Bearer realm="meshgate"\r\nWWW-Authenticate: Basic realm="a\.test", charset="UTF-8"\r$/m });
  const wrong: readonly string[] = [
    pair('ann:p'),
    pair('ann:p:ss'),
    pair('ann'),
    pair(':p:ss:word'),
    pair('ANN:p:ss:word'),
    pair('ann:p:ss:word\0'),
    pair('ann\0:p:ss:word'),
    pair('Zoë:grün', 'latin1'),
    pair('nobody:p:ss:word'),
    `${pair('ann:p:ss:word')}!`,
    pair(`ann:${'x'.repeat(10_000)}`),
    '',
    'ann:p:ss:word',
  ];
  for (const [i, text] of wrong.entries())
    t.match(await ask(door, [`Authorization: Basic ${text}`], `192.0.2.${i + 1}`), { status: 401 }, text.slice(0, 40));
  t.match(await ask(door, [`Authorization: Basic ${pair('ann:p:ss:word')}`, 'Authorization: Bearer x']), { status: 400 }, 'two of them');
  t.equal(door.recorder.bytes(), 0);
  for (const [scheme, text, user] of [
    ['Basic', 'ann:p:ss:word', 'ann'],
    ['basic', 'Zoë:grün🌱', 'Zo%C3%AB'],
    ['BASIC', 'Zoe\u0308:gru\u0308n🌱', 'Zo%C3%AB'],
  ] as const) {
    door.recorder.clear();
    t.equal((await ask(door, [`Authorization: ${scheme} ${pair(text)}`])).status, 200, text);
    t.notMatch(door.recorder.requests[0], /authorization/i);
    t.match(door.recorder.requests[0], new RegExp(`X-Meshgate-User: basic:${user}\r\n`));
  }
  t.match(door.fixture.entries.at(-1), { userId: 'basic:Zoë', authMethod: 'basic' });
});

void t.test('a service that does not ask for basic authentication leaves the field to its application', async (t) => {
  const door = await openFrontDoor(t, { headers: [header] });
  t.notMatch((await ask(door, [])).text, /WWW-Authenticate: Basic/);
  t.equal((await ask(door, ['X-Api-Key: key one', `Authorization: Basic ${pair('app:own')}`])).status, 200);
  t.match(door.recorder.requests[0], new RegExp(`Authorization: Basic ${pair('app:own')}\r\n`));
});

void t.test('credentials and sessions are asked for together', async (t) => {
  const door = await openFrontDoor(t, { headers: [header], pin: { enabled: true, pin: '482915' } }, { proofs: [['header', 'pin']] });
  const visitor = new Visitor(door);
  t.equal((await visitor.ask('/')).status, 401);
  const withHeader = { fields: ['X-Api-Key: key one'] };
  const page = await visitor.ask('/', withHeader);
  t.match(page, { status: 401, text: /value="pin"/ });
  t.equal((await visitor.fill(page, 'pin', '482915')).status, 303);
  t.equal((await visitor.ask('/')).status, 401, 'the session alone');
  t.equal(door.recorder.bytes(), 0);
  t.equal((await visitor.ask('/', withHeader)).status, 200);
  t.equal((await visitor.ask('/', { fields: ['X-Api-Key: key two'] })).status, 401);
});

void t.test('a change of the secret ends what it had opened, at once', async (t) => {
  const door = await openFrontDoor(t, { basic });
  const login = `Authorization: Basic ${pair('ann:p:ss:word')}`;
  t.equal((await ask(door, [login])).status, 200);
  await door.update({
    basic: {
      enabled: true,
      users: [
        { name: 'ann', password: 'another' },
        { name: 'Zoë', password: undefined },
      ],
    },
  });
  t.equal((await ask(door, [login])).status, 401);
  t.equal((await ask(door, [`Authorization: Basic ${pair('ann:another')}`])).status, 200);
  t.equal((await ask(door, [`Authorization: Basic ${pair('Zoë:grün🌱')}`])).status, 200, 'one that was left blank stays');
  await door.update({ headers: [header] });
  t.equal((await ask(door, [`Authorization: Basic ${pair('ann:another')}`])).status, 401);
});

void t.test('guesses at one user are slowed over all addresses, and do not lock that user out', async (t) => {
  const door = await openFrontDoor(t, { basic });
  t.equal((await ask(door, [`Authorization: Basic ${pair('ann:p:ss:word')}`], '198.51.100.1')).status, 200);
  const statuses: number[] = [];
  for (let i = 0; i < 30; i++) statuses.push((await ask(door, [`Authorization: Basic ${pair(`ann:guess ${i}`)}`], `203.0.113.${i + 1}`)).status);
  t.equal(statuses.filter((status) => status === 401).length, 10);
  t.match(await ask(door, [`Authorization: Basic ${pair('ann:guess')}`], '203.0.113.99'), { status: 429, text: /^Retry-After: \d+\r$/m });
  t.equal((await ask(door, [`Authorization: Basic ${pair('Zoë:grün🌱')}`], '203.0.113.98')).status, 200, 'others are others');
  // The gateway forgets, the control plane is asked again: who was right before is not held up.
  const check = await door.authority.verifyCredential(
    { kind: 'basic', name: 'ann', secret: 'p:ss:word', serviceId: door.serviceId, address: '198.51.100.1' },
    AbortSignal.timeout(5_000),
  );
  t.match(check, { kind: 'valid', identity: { userId: 'basic:ann' } });
});

void t.test('what rests on a credential ends with it', async (t) => {
  const door = await openFrontDoor(t, { basic });
  const login = `Authorization: Basic ${pair('ann:p:ss:word')}`;
  await ask(door, [login]);
  const socket = await door.fixture.connect('a.test');
  socket.write(`POST /slow HTTP/1.1\r\nHost: a.test\r\n${login}\r\nX-Forwarded-For: 192.0.2.9\r\nContent-Length: 100\r\n\r\npart`);
  socket.resume();
  t.ok(await until(() => door.recorder.bytes() > 100));
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const begun = performance.now();
  await door.update({ headers: [header] });
  await closed;
  const ms = performance.now() - begun;
  t.comment(`figure: an open request was cut ${ms.toFixed(0)} ms after its credential ended`);
  t.ok(ms < 1_000);
});
