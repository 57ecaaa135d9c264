// The connection was made under what the host asks of TLS clients now: one that another host or an older version of the service let in is not
// good here (attack row T-9). Whoever gets 421 may come again on a new connection.
import { deny, type Check } from '../check.ts';

export const clientCertificate: Check = ({ subject: { service, shown } }) => {
  const rule = service?.clients;
  if (rule === undefined) return undefined;
  if ('problem' in rule) return deny('auth_method_unsupported', rule.problem);
  if (shown?.trustKey !== rule.key) return deny('host_mismatch', 'the connection was made before, or without, what this host asks of clients');
  return rule.required && shown.certificate === undefined ? deny('host_mismatch', 'no client certificate') : undefined;
};
