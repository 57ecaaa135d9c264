// What the control plane's client throws beyond the rows of rpc/.
import { defineErrors } from '#lib/errors.ts';

export const controlError = defineErrors('control', {
  CONTROL_ANSWER_INVALID: { text: 'The control plane answered with something that makes no sense.', origin: 'peer', retry: true, status: 502 },
  CONTROL_SIGNAL_UNCONFIRMED: { text: 'The signal server did not confirm the registration.', origin: 'peer', retry: true, status: 502 },
  CONTROL_SIGNAL_SILENT: { text: 'The signal server does not carry messages any more.', origin: 'peer', retry: true, status: 504 },
  CONTROL_PROXY_REFUSED: { text: 'The control plane did not register this gateway as a peer.', origin: 'peer', retry: true, status: 502 },
  CONTROL_AWAY: { text: 'The control plane is not connected.', origin: 'peer', retry: true, status: 503 },
  CONTROL_SILENT: { text: 'The control plane went silent.', origin: 'peer', retry: true, status: 504 },
});
