// The instance itself: whether it is set up, its version, and the first set-up.
import { boolean, integer, object, string } from '#lib/schema.ts';
import { ok, readBody, type Handler, type OpenHandler } from './call.ts';

/** Passwords are hashed, so the upper limit is only a bound on the work. */
export const passwordField = (): ReturnType<typeof string> => string({ min: 8, max: 256 });
export const emailField = (): ReturnType<typeof string> => string({ max: 254, pattern: /^[^\s@]+@[^\s@]+$/, hint: 'must be an e-mail address' });

const setupRequest = object({
  /** Our own addition: without the code from the server's log, whoever is first at the port would own the network. */
  code: string({ max: 128 }),
  email: emailField(),
  password: passwordField(),
  name: string({ max: 255 }),
  create_pat: boolean({ default: false }),
  pat_expire_in: integer({ min: 1, max: 365, default: 1 }),
});

export const getInstance: OpenHandler = async ({ domain }) => ok({ setup_required: await domain.users.setupRequired() });

export const getVersion: Handler = async ({ version }) => ok({ management_current_version: version, management_update_available: false });

/** Makes the owner. The domain checks the code and counts wrong ones. */
export const postSetup: OpenHandler = async (call) => {
  const { code, email, password, name, ...pat } = readBody(call, setupRequest);
  const user = await call.domain.users.setup({ code, email, password, name });
  if (!pat.create_pat) return ok({ user_id: user.id, email: user.email });
  const { plain } = await call.domain.tokens.create(user.id, 'setup', pat.pat_expire_in, { kind: 'user', id: user.id });
  return ok({ user_id: user.id, email: user.email, personal_access_token: plain });
};
