// UDP targets that are names: looked up by each flow alone, with its first datagrams kept meanwhile, and no more than there is room for.
import t from 'tap';
import type { Endpoint } from '#lib/net.ts';
import { maxWaitingDatagrams } from '../../src/gateway/constants.ts';
import { namedUdp } from '../../src/gateway/named-udp.ts';

interface Asked {
  readonly name: string;
  readonly signal: AbortSignal;
  readonly answer: (addresses: readonly string[]) => void;
  readonly fail: () => void;
}

function start() {
  const asked: Asked[] = [];
  const sent: string[] = [];
  const received: string[] = [];
  let closed = 0;
  let failures = 0;
  const open = namedUdp(
    (to: Endpoint, receive) => ({
      send: (bytes) => {
        sent.push(`${to.address}:${to.port} ${Buffer.from(bytes).toString()}`);
        receive(Buffer.from('answer'));
      },
      close: () => void closed++,
    }),
    (name, signal) => new Promise((answer, reject) => void asked.push({ name, signal, answer, fail: () => reject(new TypeError('no')) })),
  );
  const flow = (address: string) =>
    open(
      { address, port: 53 },
      (bytes) => void received.push(Buffer.from(bytes).toString()),
      () => void failures++,
    );
  return { asked, sent, received, flow, closed: () => closed, failures: () => failures };
}

const settle = (): Promise<void> => new Promise((done) => void setImmediate(done));

void t.test('one name that takes long holds up nobody else, and its datagrams come in their order', async (t) => {
  const { asked, sent, flow, received } = start();
  const slow = flow('slow.internal');
  const run = Buffer.from('aabbc');
  slow.sendRun?.(run, 2);
  run.fill('z');
  flow('10.0.0.1').send(Buffer.from('now'));
  t.same(sent, ['10.0.0.1:53 now'], 'an address is asked of nobody');
  t.same(
    asked.map(({ name }) => name),
    ['slow.internal'],
  );
  asked[0]?.answer(['10.0.0.2', '10.0.0.3']);
  await settle();
  slow.send(Buffer.from('d'));
  t.same(sent.slice(1), ['10.0.0.2:53 aa', '10.0.0.2:53 bb', '10.0.0.2:53 c', '10.0.0.2:53 d']);
  t.equal(received.length, 5);
});

void t.test('what waits is bounded; who closes stops asking; a name that nobody knows fails once', async (t) => {
  const { asked, sent, flow, closed, failures } = start();
  const full = flow('full.internal');
  for (let i = 0; i < maxWaitingDatagrams + 5; i++) full.send(Buffer.from(String(i)));
  asked[0]?.answer(['10.0.0.1']);
  await settle();
  t.equal(sent.length, maxWaitingDatagrams);
  full.close();
  t.equal(closed(), 1);
  flow('closed.internal').close();
  t.equal(asked[1]?.signal.aborted, true);
  asked[1]?.answer(['10.0.0.1']);
  flow('unknown.internal').send(Buffer.from('x'));
  asked[2]?.answer([]);
  flow('broken.internal');
  asked[3]?.fail();
  await settle();
  t.equal(failures(), 2);
  t.equal(sent.length, maxWaitingDatagrams);
});
