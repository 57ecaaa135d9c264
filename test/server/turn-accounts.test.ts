// Accounts for TURN servers: what coturn expects with use-auth-secret, and the refusal without a secret.
import { createHmac } from 'node:crypto';
import t from 'tap';
import { createTurnAccounts } from '../../src/server/turn-accounts.ts';

void t.test('an account names its end and proves it with the secret', async (t) => {
  const accounts = createTurnAccounts({ urls: ['turn:a.test:3478', 'turn:b.test'], secret: 'shared' }, 3_600_000);
  const [first, second] = accounts(1_000_000_000);
  t.equal(first?.username, '1007200:peer', 'two hours later: twice the renewal');
  t.equal(first?.password, createHmac('sha1', 'shared').update('1007200:peer').digest('base64'));
  t.equal(second?.url, 'turn:b.test');
  t.not(accounts(2_000_000_000)[0]?.password, first?.password);
});

void t.test('servers without a secret are refused at the start; without servers nothing is needed', async (t) => {
  t.throws(() => createTurnAccounts({ urls: ['turn:a.test'], secret: undefined }, 1000), { code: 'SERVER_TURN_SECRET' });
  t.same(createTurnAccounts({ urls: [], secret: undefined }, 1000)(0), []);
});
