// The set-up of the first user, guarded by the one-time code that the server printed. Afterwards the page is gone.
import { MeshgateError, errorCode } from '#lib/errors.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { UserUseCases } from '../domain/contract.ts';
import { addressKey, type FailedAttempts } from './attempts.ts';
import { failurePage, setupDonePage, setupPage } from './pages/sign-in-pages.ts';
import { readForm, sendPage } from './respond.ts';

export interface SetupOptions {
  readonly issuer: URL;
  readonly users: Pick<UserUseCases, 'setupRequired' | 'setup'>;
  readonly attempts: FailedAttempts;
}

const done = 'The first user is set up already.';

/** GET shows the form, POST makes the user; 404 once there is one. */
export async function handleSetup(options: SetupOptions, query: URLSearchParams, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const { issuer, users, attempts } = options;
  if (!(await users.setupRequired())) return sendPage(res, 404, failurePage(done));
  const uid = query.get('continue') ?? '';
  // Only the id of a sign-in comes in, never an address to go to.
  const known = /^[\w-]{10,64}$/.test(uid);
  const action = `${issuer.pathname}/setup${known ? `?continue=${uid}` : ''}`;
  if (req.method !== 'POST') return sendPage(res, 200, setupPage({ action, email: '', name: '' }));

  const form = await readForm(req, issuer.origin);
  const view = { action, email: form.get('email') ?? '', name: form.get('name') ?? '' };
  const address = addressKey(req.socket.remoteAddress);
  if (attempts.waitMs([address]) > 0) return sendPage(res, 429, setupPage({ ...view, problem: 'Too many attempts. Wait a moment and try again.' }));
  attempts.failed([address]);
  try {
    await users.setup({
      code: (form.get('code') ?? '').trim(),
      email: view.email.trim(),
      name: view.name.trim(),
      password: form.get('password') ?? '',
    });
  } catch (error) {
    if (!(error instanceof MeshgateError) || error.row.origin === 'internal') throw error;
    if (errorCode(error) === 'DOMAIN_SETUP_DONE') return sendPage(res, 409, failurePage(done));
    return sendPage(res, error.row.status, setupPage({ ...view, problem: error.message }));
  }
  attempts.succeeded(address, address);
  sendPage(res, 200, setupDonePage(known ? `${issuer.pathname}/interaction/${uid}` : undefined));
}
