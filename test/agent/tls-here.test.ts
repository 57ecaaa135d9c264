// Who may bring visitors to an agent at which TLS ends, and how its door follows what the control plane says.
import { PassThrough } from 'node:stream';
import t, { type Test } from 'tap';
import { silentLogger } from '#lib/log.ts';
import type { OverlayConnection } from '#mesh/index.ts';
import { asId, type PublicKey } from '#model/ids.ts';
import type { TlsGrant } from '#model/tls-grant.ts';
import { TlsHere, type TlsDoorOptions } from '../../src/agent/tls-here.ts';
import { until } from '../support/until.ts';

const settings = {
  control: { url: 'https://mesh.test', ca: undefined },
  stateDir: '/nowhere',
  certDir: '/nowhere',
  acme: { authorities: [], email: undefined, termsAgreed: false, keyType: 'ec256' },
} as const;

interface Ready {
  readonly here: TlsHere;
  readonly asked: string[];
  readonly opened: TlsDoorOptions[];
  readonly accepted: string[];
  readonly closed: string[];
}

/** The answers come one after another, the last one again and again. */
function ready(t: Test, answers: readonly (Partial<TlsGrant> | Error)[]): Ready {
  const [asked, opened, accepted, closed] = [[] as string[], [] as TlsDoorOptions[], [] as string[], [] as string[]];
  const here = new TlsHere({
    grant: (current) => {
      const answer = answers[Math.min(asked.push(current), answers.length) - 1];
      if (answer instanceof Error) return Promise.reject(answer);
      return Promise.resolve({ token: 'one', cluster: 'p.agent.invalid', proxyId: asId('agent-p'), gateways: [], ...answer });
    },
    open: (options) => {
      opened.push(options);
      return Promise.resolve({
        accept: (_stream, { remote }) => void accepted.push(`${options.token} ${remote.address}`),
        status: () => ({}),
        problems: () => [],
        close: () => Promise.resolve(void closed.push(options.token)),
      });
    },
    settings,
    dial: () => Promise.reject(new Error('nothing is dialled here')),
    log: silentLogger,
  });
  t.teardown(() => here.close());
  return { here, asked, opened, accepted, closed };
}

function from(peer: string): OverlayConnection {
  const ends = { remote: { address: `100.64.0.${peer.length}`, port: 1 }, local: { address: '100.64.0.9', port: 44_443 } };
  return { stream: new PassThrough(), peer: asId<PublicKey>(peer), ...ends };
}

void t.test('only gateways that the control plane names bring visitors', async (t) => {
  const { here, opened, accepted } = ready(t, [{ gateways: [asId<PublicKey>('gate')] }]);
  here.start();
  await until('the door is open', () => opened.length === 1);
  const [gateway, stranger] = [from('gate'), from('stranger')];
  await here.accept(gateway);
  await here.accept(stranger);
  t.same(accepted, ['one 100.64.0.4']);
  t.notOk(gateway.stream.destroyed);
  t.ok(stranger.stream.destroyed);
  t.same(here.problems(), []);
});

void t.test('a gateway that is new is asked about, and the token in use is told; a stranger asks but once a moment', async (t) => {
  const { here, asked, opened, accepted } = ready(t, [{}, { gateways: [asId<PublicKey>('gate')] }]);
  await here.accept(from('gate'));
  t.same(accepted, [], 'the first answer names nobody');
  await here.accept(from('gate'));
  t.same(asked, [''], 'nothing is asked again so soon');
  await until('the pause is over and it is let in', async () => {
    await here.accept(from('gate'));
    return accepted.length > 0;
  });
  t.same(asked, ['', 'one']);
  t.equal(opened.length, 1, 'the door stays as it is');
});

void t.test('with another token the door is made anew; without an answer there is none', async (t) => {
  const { here, opened, closed, accepted } = ready(t, [
    new Error('away'),
    { gateways: [asId<PublicKey>('gate')] },
    { token: 'two', gateways: [asId<PublicKey>('gate')] },
  ]);
  const early = from('gate');
  await here.accept(early);
  t.ok(early.stream.destroyed);
  t.match(here.problems(), [/away/]);
  await until('the first is open', async () => {
    await here.accept(from('gate'));
    return accepted.length > 0;
  });
  await until('the second is', async () => {
    await here.accept(from('x'));
    return opened.length === 2;
  });
  t.same(closed, ['one']);
  await here.accept(from('gate'));
  t.equal(accepted.at(-1), 'two 100.64.0.4');
  await here.close();
  t.same(closed, ['one', 'two']);
});
