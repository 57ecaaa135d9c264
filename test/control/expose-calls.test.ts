// A peer's calls about exposed services at a control plane that has our own words for them, and at one that has only NetBird's.
import t from 'tap';
import { ExposeCalls, type SealedCall } from '#control/expose-calls.ts';
import { defineErrors } from '#lib/errors.ts';
import type { ExposeRequest } from '#model/exposure.ts';

const refusal = defineErrors('test/expose-calls', {
  RPC_UNIMPLEMENTED: { text: 'no', origin: 'peer', retry: false, status: 501 },
  RPC_NOT_FOUND: { text: 'gone', origin: 'peer', retry: false, status: 404 },
  RPC_PERMISSION_DENIED: { text: 'The control plane refused this.', origin: 'peer', retry: false, status: 403 },
  RPC_FAILED_PRECONDITION: { text: 'not so', origin: 'peer', retry: false, status: 412 },
  RPC_RESOURCE_EXHAUSTED: { text: 'Too much at once.', origin: 'peer', retry: true, status: 429 },
  RPC_UNAVAILABLE: { text: 'away', origin: 'peer', retry: true, status: 503 },
});
const never = new AbortController().signal;
const request: ExposeRequest = {
  port: 8080,
  host: undefined,
  protocol: 'http',
  place: { kind: 'random', name: 'demo' },
  listenPort: undefined,
  access: { kind: 'proof', signIn: true, groups: ['developers'], password: undefined, pin: '123456' },
  endsAfterMs: undefined,
};

/** Answers by the name of the method; what it was asked is kept. */
function plane(answers: Readonly<Record<string, (input: unknown) => unknown>>) {
  const asked: { readonly method: string; readonly input: unknown }[] = [];
  const call = async (method: { readonly name: string }, _desc: unknown, input: unknown): Promise<unknown> => {
    asked.push({ method: method.name, input });
    const answer = answers[method.name];
    if (answer === undefined) throw refusal('RPC_UNIMPLEMENTED');
    return answer(input);
  };
  return { asked, calls: new ExposeCalls(call as unknown as SealedCall) };
}

void t.test('a stock control plane is asked in its words, and known by its domain', async (t) => {
  const { asked, calls } = plane({
    CreateExpose: () => ({ serviceName: 'demo-1234', serviceUrl: 'https://demo-1234.proxy.test', domain: 'demo-1234.proxy.test' }),
    RenewExpose: () => ({}),
    StopExpose: () => ({}),
  });
  const made = await calls.expose(request, never);
  t.match(made, {
    kind: 'open',
    service: { url: 'https://demo-1234.proxy.test', ttlMs: 90_000, openTo: { everybody: false, signIn: true, groups: ['developers'], pin: true } },
  });
  const id = made.kind === 'open' ? made.service.id : '';
  t.match(await calls.renewExposure(id, never), { kind: 'open', service: { id } });
  await calls.stopExposure(id, never);
  t.match(asked.slice(1), [
    { method: 'CreateExpose', input: { port: 8080, namePrefix: 'demo', userGroups: ['developers'], pin: '123456', password: '' } },
    { method: 'RenewExpose', input: { domain: 'demo-1234.proxy.test' } },
    { method: 'StopExpose', input: { domain: 'demo-1234.proxy.test' } },
  ]);
  t.match(await calls.renewExposure(id, never), { kind: 'lapsed' });
});

void t.test('what the stock words cannot say is refused, not asked for with less', async (t) => {
  const { asked, calls } = plane({ CreateExpose: () => ({}) });
  const anybody = { kind: 'proof', signIn: true, groups: [], password: undefined, pin: undefined } as const;
  for (const more of [{ access: anybody }, { host: '10.0.0.1' }, { place: { kind: 'exact', domain: 'a.test' } as const }, { endsAfterMs: 1_000 }])
    t.match(await calls.expose({ ...request, ...more }, never), { kind: 'refused', reason: /cannot expose services/ });
  t.notOk(asked.some(({ method }) => method === 'CreateExpose'));
});

void t.test('what is over, what is refused and what has to be tried again are told apart', async (t) => {
  const failing = (code: Parameters<typeof refusal>[0]) => plane({ Expose: () => fail(code), Renew: () => fail(code), Stop: () => fail(code) }).calls;
  const fail = (code: Parameters<typeof refusal>[0]): never => {
    throw refusal(code, 'why');
  };
  t.match(await failing('RPC_NOT_FOUND').renewExposure('x', never), { kind: 'lapsed' });
  t.match(await failing('RPC_FAILED_PRECONDITION').renewExposure('x', never), { kind: 'withdrawn', reason: 'not so (why)' });
  t.match(await failing('RPC_PERMISSION_DENIED').renewExposure('x', never), { kind: 'refused', reason: /refused this\. \(why\)/ });
  t.match(await failing('RPC_PERMISSION_DENIED').expose(request, never), { kind: 'refused' });
  t.match(await failing('RPC_RESOURCE_EXHAUSTED').expose(request, never), { kind: 'refused' }, 'as many as it may');
  await t.rejects(failing('RPC_RESOURCE_EXHAUSTED').renewExposure('x', never), { code: 'RPC_RESOURCE_EXHAUSTED' });
  await t.rejects(failing('RPC_UNAVAILABLE').expose(request, never), { code: 'RPC_UNAVAILABLE' });
  await t.rejects(failing('RPC_UNAVAILABLE').renewExposure('x', never), { code: 'RPC_UNAVAILABLE' });
});

void t.test('an answer that makes no sense is none, and what is shown cannot move a terminal', async (t) => {
  const good = {
    id: 'a',
    name: 'n',
    url: 'https://a.test\u001b[2J',
    domain: 'a.test',
    ttlMs: 90_000n,
    endsAt: 0n,
    state: 'active',
    reason: '\u202eabc',
    groups: [],
    password: false,
    pin: false,
    public: true,
    signIn: false,
  };
  t.match(await plane({ Expose: () => good }).calls.expose(request, never), { kind: 'open', service: { url: 'https://a.test[2J', reason: 'abc' } });
  for (const bad of [{ ttlMs: 0n }, { id: '' }, { ttlMs: 10n ** 18n }])
    await t.rejects(plane({ Expose: () => ({ ...good, ...bad }) }).calls.expose(request, never), { code: 'CONTROL_ANSWER_INVALID' });
});
