// The schema as a numbered list: a database is brought up step by step, each step once, in one transaction. Steps that have been released
// never change; a new one is added at the end.
import type { Database, Sql } from './database.ts';
import { storeError } from './errors.ts';
import { number } from './row.ts';

const migrations: readonly (readonly string[])[] = [
  [
    `CREATE TABLE counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL)`,
    `INSERT INTO counters (name, value) VALUES ('serial', 0), ('change', 0)`,
    `CREATE TABLE account (id TEXT PRIMARY KEY, network_v4 TEXT NOT NULL, network_v6 TEXT NOT NULL, key_check TEXT NOT NULL, created_at BIGINT NOT NULL)`,
    `CREATE TABLE servers (id TEXT PRIMARY KEY, heartbeat BIGINT NOT NULL)`,
    `CREATE TABLE changes (id BIGINT PRIMARY KEY, server_id TEXT NOT NULL, at BIGINT NOT NULL, body TEXT NOT NULL)`,
    `CREATE TABLE peers (
      id TEXT PRIMARY KEY, public_key TEXT NOT NULL UNIQUE, name TEXT NOT NULL, dns_label TEXT NOT NULL UNIQUE,
      ipv4 TEXT NOT NULL UNIQUE, ipv6 TEXT NOT NULL UNIQUE, meta TEXT NOT NULL, user_id TEXT, ephemeral BIGINT NOT NULL,
      proxy_cluster TEXT, connected BIGINT NOT NULL, server_id TEXT, connection_ip TEXT NOT NULL,
      last_seen BIGINT NOT NULL, last_login BIGINT NOT NULL, created_at BIGINT NOT NULL)`,
    `CREATE INDEX peers_user ON peers (user_id)`,
    `CREATE TABLE peer_groups (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, system BIGINT NOT NULL)`,
    `CREATE TABLE group_members (
      group_id TEXT NOT NULL REFERENCES peer_groups (id) ON DELETE CASCADE, peer_id TEXT NOT NULL REFERENCES peers (id) ON DELETE CASCADE,
      PRIMARY KEY (group_id, peer_id))`,
    `CREATE INDEX group_members_peer ON group_members (peer_id)`,
    `CREATE TABLE policies (id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL, enabled BIGINT NOT NULL, rules TEXT NOT NULL)`,
    `CREATE TABLE setup_keys (
      id TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, name TEXT NOT NULL, type TEXT NOT NULL, hint TEXT NOT NULL, expires_at BIGINT,
      revoked BIGINT NOT NULL, used_times BIGINT NOT NULL, usage_limit BIGINT NOT NULL, last_used BIGINT, ephemeral BIGINT NOT NULL,
      auto_groups TEXT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL)`,
    `CREATE TABLE users (
      id TEXT PRIMARY KEY, connector TEXT NOT NULL, subject TEXT NOT NULL, email TEXT NOT NULL, name TEXT NOT NULL, role TEXT NOT NULL,
      blocked BIGINT NOT NULL, service BIGINT NOT NULL, auto_groups TEXT NOT NULL, password TEXT, created_at BIGINT NOT NULL,
      last_login BIGINT, UNIQUE (connector, subject))`,
    `CREATE INDEX users_email ON users (email)`,
    `CREATE TABLE api_tokens (
      id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE, digest TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
      created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, last_used BIGINT, created_by TEXT NOT NULL)`,
    `CREATE INDEX api_tokens_user ON api_tokens (user_id)`,
    `CREATE TABLE proxy_tokens (
      id TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, name TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT, last_used BIGINT,
      revoked BIGINT NOT NULL)`,
    `CREATE TABLE clusters (id TEXT PRIMARY KEY, address TEXT NOT NULL UNIQUE, created_at BIGINT NOT NULL)`,
    `CREATE TABLE proxies (
      id TEXT PRIMARY KEY, token_id TEXT NOT NULL, cluster TEXT NOT NULL, version TEXT NOT NULL, server_id TEXT NOT NULL, heartbeat BIGINT NOT NULL)`,
    `CREATE TABLE domains (id TEXT PRIMARY KEY, domain TEXT NOT NULL UNIQUE, cluster TEXT NOT NULL, validated BIGINT NOT NULL)`,
    `CREATE TABLE services (
      id TEXT PRIMARY KEY, name TEXT NOT NULL, domain TEXT NOT NULL UNIQUE, mode TEXT NOT NULL, listen_port BIGINT, cluster TEXT NOT NULL,
      enabled BIGINT NOT NULL, body TEXT NOT NULL, session_key TEXT NOT NULL, created_at BIGINT NOT NULL, certificate_issued_at BIGINT)`,
    `CREATE INDEX services_cluster ON services (cluster)`,
    `CREATE TABLE service_status (
      service_id TEXT NOT NULL REFERENCES services (id) ON DELETE CASCADE, proxy_id TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
      at BIGINT NOT NULL, PRIMARY KEY (service_id, proxy_id))`,
    `CREATE INDEX service_status_proxy ON service_status (proxy_id)`,
    `CREATE TABLE sessions (
      digest TEXT PRIMARY KEY, service_id TEXT NOT NULL REFERENCES services (id) ON DELETE CASCADE, user_id TEXT NOT NULL,
      created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, revoked BIGINT NOT NULL)`,
    `CREATE INDEX sessions_user ON sessions (user_id)`,
    `CREATE INDEX sessions_service ON sessions (service_id)`,
    `CREATE INDEX sessions_expiry ON sessions (expires_at)`,
    `CREATE TABLE audit (
      id TEXT PRIMARY KEY, at BIGINT NOT NULL, code TEXT NOT NULL, activity TEXT NOT NULL, initiator_id TEXT NOT NULL,
      initiator_name TEXT NOT NULL, initiator_email TEXT NOT NULL, target_id TEXT NOT NULL, meta TEXT NOT NULL)`,
    `CREATE INDEX audit_at ON audit (at)`,
    `CREATE TABLE access_log (
      id TEXT PRIMARY KEY, service_id TEXT, at BIGINT NOT NULL, protocol TEXT NOT NULL, method TEXT NOT NULL, host TEXT NOT NULL,
      path TEXT NOT NULL, duration_ms DOUBLE PRECISION NOT NULL, status BIGINT NOT NULL, source_ip TEXT NOT NULL, user_id TEXT NOT NULL,
      auth_method TEXT NOT NULL, auth_success BIGINT NOT NULL, bytes_up BIGINT NOT NULL, bytes_down BIGINT NOT NULL, reason TEXT NOT NULL)`,
    `CREATE INDEX access_log_at ON access_log (at)`,
    `CREATE TABLE vault (id TEXT PRIMARY KEY, value TEXT NOT NULL, expires_at BIGINT)`,
  ],
  [
    `CREATE TABLE settings (id TEXT PRIMARY KEY, body TEXT NOT NULL)`,
    `CREATE TABLE login_tokens (id TEXT PRIMARY KEY, expires_at BIGINT NOT NULL)`,
    `ALTER TABLE peers ADD COLUMN login_expiration BIGINT NOT NULL DEFAULT 0`,
    `ALTER TABLE peers ADD COLUMN login_expired BIGINT NOT NULL DEFAULT 0`,
  ],
  [
    `CREATE TABLE networks (id TEXT PRIMARY KEY, body TEXT NOT NULL)`,
    `CREATE TABLE network_resources (
      id TEXT PRIMARY KEY, network_id TEXT NOT NULL REFERENCES networks (id) ON DELETE CASCADE, body TEXT NOT NULL)`,
    `CREATE INDEX network_resources_network ON network_resources (network_id)`,
    `CREATE TABLE group_resources (
      group_id TEXT NOT NULL REFERENCES peer_groups (id) ON DELETE CASCADE,
      resource_id TEXT NOT NULL REFERENCES network_resources (id) ON DELETE CASCADE, PRIMARY KEY (group_id, resource_id))`,
    `CREATE INDEX group_resources_resource ON group_resources (resource_id)`,
    `CREATE TABLE network_routers (
      id TEXT PRIMARY KEY, network_id TEXT NOT NULL REFERENCES networks (id) ON DELETE CASCADE, body TEXT NOT NULL)`,
    `CREATE INDEX network_routers_network ON network_routers (network_id)`,
    `CREATE TABLE routes (id TEXT PRIMARY KEY, body TEXT NOT NULL)`,
    `CREATE TABLE nameserver_groups (id TEXT PRIMARY KEY, body TEXT NOT NULL)`,
    `CREATE TABLE zones (id TEXT PRIMARY KEY, domain TEXT NOT NULL UNIQUE, body TEXT NOT NULL)`,
    `CREATE TABLE zone_records (id TEXT PRIMARY KEY, zone_id TEXT NOT NULL REFERENCES zones (id) ON DELETE CASCADE, body TEXT NOT NULL)`,
    `CREATE INDEX zone_records_zone ON zone_records (zone_id)`,
  ],
  [
    `CREATE TABLE posture_checks (id TEXT PRIMARY KEY, body TEXT NOT NULL)`,
    `ALTER TABLE policies ADD COLUMN posture_checks TEXT NOT NULL DEFAULT '[]'`,
  ],
  [
    `CREATE TABLE certificate_leases (
      cluster TEXT NOT NULL, names TEXT NOT NULL, proxy_id TEXT NOT NULL, expires_at BIGINT NOT NULL, PRIMARY KEY (cluster, names))`,
    `CREATE TABLE certificate_challenges (
      cluster TEXT NOT NULL, type TEXT NOT NULL, name TEXT NOT NULL, token TEXT NOT NULL, key_authorization TEXT NOT NULL, names TEXT NOT NULL,
      expires_at BIGINT NOT NULL, PRIMARY KEY (cluster, type, name, token))`,
    `CREATE TABLE certificate_shares (
      cluster TEXT NOT NULL, names TEXT NOT NULL, recipient TEXT NOT NULL, sender TEXT NOT NULL, box TEXT NOT NULL, not_after BIGINT NOT NULL,
      PRIMARY KEY (cluster, names, recipient))`,
    `CREATE TABLE gateway_seal_keys (proxy_id TEXT PRIMARY KEY, cluster TEXT NOT NULL, public_key TEXT NOT NULL, seen_at BIGINT NOT NULL)`,
    `CREATE TABLE gateway_certificates (
      proxy_id TEXT NOT NULL, id TEXT NOT NULL, cluster TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (proxy_id, id))`,
    `ALTER TABLE domains ADD COLUMN challenge TEXT NOT NULL DEFAULT ''`,
    `ALTER TABLE domains ADD COLUMN checked_at BIGINT`,
    `ALTER TABLE domains ADD COLUMN failing_since BIGINT`,
  ],
  [
    `CREATE TABLE exposures (
      id TEXT PRIMARY KEY, peer_id TEXT NOT NULL REFERENCES peers (id) ON DELETE CASCADE, domain TEXT NOT NULL, lease_until BIGINT NOT NULL,
      ends_at BIGINT, withdrawn BIGINT NOT NULL)`,
    `CREATE INDEX exposures_peer ON exposures (peer_id)`,
  ],
  [
    // Older sessions have nothing to be named by: their people sign in again.
    `DELETE FROM sessions`,
    `ALTER TABLE sessions ADD COLUMN id TEXT NOT NULL DEFAULT ''`,
    `ALTER TABLE sessions ADD COLUMN sign_in TEXT NOT NULL DEFAULT ''`,
    `ALTER TABLE sessions ADD COLUMN methods TEXT NOT NULL DEFAULT '[]'`,
    `ALTER TABLE sessions ADD COLUMN address TEXT NOT NULL DEFAULT ''`,
    `ALTER TABLE sessions ADD COLUMN user_agent TEXT NOT NULL DEFAULT ''`,
    `ALTER TABLE sessions ADD COLUMN last_used BIGINT NOT NULL DEFAULT 0`,
    `CREATE UNIQUE INDEX sessions_id ON sessions (id)`,
    `CREATE INDEX sessions_sign_in ON sessions (sign_in)`,
    `CREATE TABLE user_factors (id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE, body TEXT NOT NULL)`,
    `CREATE TABLE passkeys (id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE, body TEXT NOT NULL)`,
    `CREATE INDEX passkeys_user ON passkeys (user_id)`,
    `CREATE TABLE identity_providers (id TEXT PRIMARY KEY, body TEXT NOT NULL)`,
  ],
  [
    // One domain may be several services'. What no two of them may share is the place.
    `ALTER TABLE services RENAME COLUMN domain TO place`,
    `ALTER TABLE services ADD COLUMN domain TEXT NOT NULL DEFAULT ''`,
    `UPDATE services SET domain = place`,
    `UPDATE services SET place = domain || ' ' || mode || ' ' || listen_port WHERE mode <> 'http' AND body NOT LIKE '%"oidc":{"enabled":true%'`,
    `CREATE INDEX services_domain ON services (domain)`,
  ],
  [
    `ALTER TABLE sessions ADD COLUMN proofs TEXT NOT NULL DEFAULT '["oidc"]'`,
    `ALTER TABLE sessions ADD COLUMN name TEXT NOT NULL DEFAULT ''`,
    `CREATE TABLE proof_attempts (key TEXT PRIMARY KEY, failures BIGINT NOT NULL, last BIGINT NOT NULL)`,
    `CREATE INDEX proof_attempts_last ON proof_attempts (last)`,
  ],
  [
    `ALTER TABLE proxy_tokens ADD COLUMN cluster TEXT`,
    // A token whose gateways are all in one cluster belongs there; any other belongs to the first that it registers with from now on.
    `UPDATE proxy_tokens SET cluster = (SELECT min(proxies.cluster) FROM proxies WHERE proxies.token_id = proxy_tokens.id)
      WHERE (SELECT count(DISTINCT proxies.cluster) FROM proxies WHERE proxies.token_id = proxy_tokens.id) = 1`,
  ],
  [`ALTER TABLE users ADD COLUMN claims TEXT NOT NULL DEFAULT '{}'`],
  [`ALTER TABLE proxies ADD COLUMN public_port BIGINT NOT NULL DEFAULT 443`],
  [
    `CREATE TABLE share_links (
      id TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, service_id TEXT NOT NULL REFERENCES services (id) ON DELETE CASCADE, label TEXT NOT NULL,
      created_by TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, uses BIGINT NOT NULL, used BIGINT NOT NULL,
      revoked BIGINT NOT NULL)`,
    `CREATE INDEX share_links_service ON share_links (service_id)`,
    `CREATE TABLE devices (
      id TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, service_id TEXT NOT NULL REFERENCES services (id) ON DELETE CASCADE,
      user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE, name TEXT NOT NULL, created_at BIGINT NOT NULL, last_used BIGINT)`,
    `CREATE INDEX devices_user ON devices (user_id)`,
    `CREATE INDEX devices_service ON devices (service_id)`,
  ],
  [
    `CREATE TABLE minted_certificates (
      id TEXT PRIMARY KEY, kind TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, service_id TEXT NOT NULL REFERENCES services (id) ON DELETE CASCADE,
      user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL)`,
    `CREATE INDEX minted_certificates_user ON minted_certificates (user_id)`,
    `CREATE INDEX minted_certificates_service ON minted_certificates (service_id)`,
    `CREATE INDEX minted_certificates_created ON minted_certificates (created_at)`,
  ],
];

/** Brings the schema up to date, or to an older version. STORE_TOO_NEW where a later version of Meshgate wrote it. */
export async function migrate(database: Database, until = migrations.length): Promise<void> {
  await database.transaction(async (tx) => {
    await tx.execute('CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)');
    const [row] = await tx.query('SELECT max(version) AS version FROM schema_version WHERE version > 0 HAVING count(*) > 0');
    const current = row === undefined ? 0 : number(row, 'version');
    if (current > migrations.length) throw storeError('STORE_TOO_NEW', `version ${current}, this server knows ${migrations.length}`);
    for (const [index, statements] of migrations.entries()) {
      if (index >= current && index < until) await step(tx, index + 1, statements);
    }
  });
}

async function step(tx: Sql, version: number, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await tx.execute(statement);
  await tx.execute('INSERT INTO schema_version (version) VALUES (?)', [version]);
}
