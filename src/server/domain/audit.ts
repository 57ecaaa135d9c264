// The words of the audit log.
import type { Tables } from '../store/store.ts';
import type { Actor } from './contract.ts';

const activities: Readonly<Record<string, string>> = {
  'account.setup': 'Account set up',
  'peer.setupkey.add': 'Peer added by setup key',
  'peer.user.add': 'Peer added by user',
  'peer.proxy.add': 'Gateway peer added',
  'peer.rename': 'Peer renamed',
  'peer.delete': 'Peer deleted',
  'peer.login': 'Peer signed in again by its user',
  'peer.login.expire': 'Login of the peer expired',
  'peer.login.expiration.enable': 'Login expiration of the peer switched on',
  'peer.login.expiration.disable': 'Login expiration of the peer switched off',
  'account.settings.update': 'Settings of the account updated',
  'peer.expire': 'Peer removed after a long absence',
  'setupkey.add': 'Setup key created',
  'setupkey.update': 'Setup key updated',
  'setupkey.revoke': 'Setup key revoked',
  'setupkey.delete': 'Setup key deleted',
  'group.add': 'Group created',
  'group.update': 'Group updated',
  'group.delete': 'Group deleted',
  'network.create': 'Network created',
  'network.update': 'Network updated',
  'network.delete': 'Network deleted',
  'network.resource.create': 'Resource of a network created',
  'network.resource.update': 'Resource of a network updated',
  'network.resource.delete': 'Resource of a network deleted',
  'network.router.create': 'Router of a network created',
  'network.router.update': 'Router of a network updated',
  'network.router.delete': 'Router of a network deleted',
  'route.add': 'Route created',
  'route.update': 'Route updated',
  'route.delete': 'Route deleted',
  'nameserver.group.add': 'Name servers added',
  'nameserver.group.update': 'Name servers updated',
  'nameserver.group.delete': 'Name servers deleted',
  'dns.settings.update': 'Groups with their own name servers updated',
  'dns.zone.create': 'DNS zone created',
  'dns.zone.update': 'DNS zone updated',
  'dns.zone.delete': 'DNS zone deleted',
  'dns.zone.record.create': 'DNS record created',
  'dns.zone.record.update': 'DNS record updated',
  'dns.zone.record.delete': 'DNS record deleted',
  'posture.check.create': 'Posture check created',
  'posture.check.update': 'Posture check updated',
  'posture.check.delete': 'Posture check deleted',
  'policy.add': 'Policy created',
  'policy.update': 'Policy updated',
  'policy.delete': 'Policy deleted',
  'user.create': 'User created',
  'user.join': 'User joined at the first sign-in',
  'user.update': 'User updated',
  'user.block': 'User blocked',
  'user.unblock': 'User unblocked',
  'user.password.change': 'Password changed',
  'user.delete': 'User deleted',
  'user.totp.enable': 'Codes of an app set up as second factor',
  'user.totp.disable': 'Codes of an app removed as second factor',
  'user.recovery.create': 'New recovery codes made',
  'user.recovery.use': 'Recovery code used',
  'user.passkey.add': 'Passkey added',
  'user.passkey.delete': 'Passkey deleted',
  'user.passkey.cloned': 'Passkey refused: there may be two of it',
  'user.factors.reset': 'Second factors and passkeys of the user taken away',
  'service.diagnose': 'A diagnosis of the service was asked for',
  'user.sessions.end': 'All sessions of the user ended',
  'issuer.create': 'Issuer of users created',
  'issuer.update': 'Issuer of users updated',
  'issuer.delete': 'Issuer of users deleted',
  'token.create': 'Personal token created',
  'token.delete': 'Personal token deleted',
  'proxy.token.create': 'Gateway token created',
  'proxy.token.bind': 'Gateway token bound to the first cluster that it registered with',
  'proxy.token.revoke': 'Gateway token revoked',
  'service.create': 'Service created',
  'service.update': 'Service updated',
  'service.delete': 'Service deleted',
  'service.peer.expose': 'Service exposed by a peer',
  'service.peer.unexpose': 'Exposed service ended',
  'service.peer.expose.expire': 'Exposed service lapsed',
  'service.certificate.issue': 'First certificate issued',
  'session.create': 'Signed in at a service',
  'session.end': 'Signed out of a service',
  'service.link.create': 'Share link created',
  'service.link.revoke': 'Share link revoked',
  'device.pair': 'Device paired',
  'device.revoke': 'Device revoked',
  'certificate.mint': 'Certificate of a user made',
  'certificate.revoke': 'Certificate of a user revoked',
  'session.revoke': 'Session at a service ended by somebody',
  'cluster.add': 'Cluster of gateways seen for the first time',
  'cluster.delete': 'Cluster deleted',
  'domain.add': 'Custom domain added',
  'domain.validate': 'Custom domain checked',
  'domain.delete': 'Custom domain deleted',
};

/** The activity in words, and who did it as they are called now: both are kept, as names change. */
export async function describeActor(
  tables: Tables,
  code: string,
  actor: Actor,
): Promise<{ readonly activity: string; readonly initiatorId: string; readonly initiatorName: string; readonly initiatorEmail: string }> {
  const activity = activities[code] ?? code;
  switch (actor.kind) {
    case 'user': {
      const user = await tables.users.find(actor.id);
      return { activity, initiatorId: actor.id, initiatorName: user?.name ?? '', initiatorEmail: user?.email ?? '' };
    }
    case 'peer': {
      const peer = await tables.peers.find(actor.id);
      return { activity, initiatorId: actor.id, initiatorName: peer?.name ?? '', initiatorEmail: '' };
    }
    case 'proxy': {
      const token = await tables.tokens.findProxy(actor.id);
      return { activity, initiatorId: actor.id, initiatorName: token?.name ?? '', initiatorEmail: '' };
    }
    case 'system':
      return { activity, initiatorId: 'sys', initiatorName: 'System', initiatorEmail: '' };
  }
}
