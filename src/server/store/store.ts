// All tables over one database: what the domain works with. A `Tables` belongs to the database, or to one transaction of it.
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { AccountTable } from './account-table.ts';
import { AttemptTable } from './attempt-table.ts';
import type { BodyTable } from './body-table.ts';
import { CertificateTable } from './certificate-table.ts';
import { ChangeTable } from './change-table.ts';
import { ClusterTable } from './cluster-table.ts';
import type { Database, Sql } from './database.ts';
import { storeError } from './errors.ts';
import { DeviceTable } from './device-table.ts';
import { EventTable } from './event-table.ts';
import { ExposureTable } from './exposure-table.ts';
import { factorTables, type FactorTables } from './factor-tables.ts';
import { GroupTable } from './group-table.ts';
import { issuerTable, type IssuerRecord } from './issuer-table.ts';
import { LinkTable } from './link-table.ts';
import { MintedTable } from './minted-table.ts';
import { migrate } from './migrations.ts';
import { PeerTable } from './peer-table.ts';
import { planTables, type PlanTables } from './plan-tables.ts';
import { PolicyTable } from './policy-table.ts';
import { openPostgres } from './postgres.ts';
import { ServiceTable } from './service-table.ts';
import { SessionTable } from './session-table.ts';
import { SetupKeyTable } from './setup-key-table.ts';
import { type StoreTimes, TimedDatabase } from './timed-database.ts';
import { openSqlite } from './sqlite.ts';
import { TokenTable } from './token-table.ts';
import { UserTable } from './user-table.ts';
import { VaultTable } from './vault-table.ts';

export interface Tables extends PlanTables, FactorTables {
  readonly account: AccountTable;
  readonly changes: ChangeTable;
  readonly peers: PeerTable;
  readonly groups: GroupTable;
  readonly policies: PolicyTable;
  readonly setupKeys: SetupKeyTable;
  readonly users: UserTable;
  readonly issuers: BodyTable<IssuerRecord>;
  readonly tokens: TokenTable;
  readonly services: ServiceTable;
  readonly exposures: ExposureTable;
  readonly clusters: ClusterTable;
  readonly certificates: CertificateTable;
  readonly sessions: SessionTable;
  readonly attempts: AttemptTable;
  readonly links: LinkTable;
  readonly devices: DeviceTable;
  readonly minted: MintedTable;
  readonly events: EventTable;
  readonly vault: VaultTable;
}

function tablesOver(sql: Sql): Tables {
  return {
    account: new AccountTable(sql),
    changes: new ChangeTable(sql),
    peers: new PeerTable(sql),
    groups: new GroupTable(sql),
    policies: new PolicyTable(sql),
    setupKeys: new SetupKeyTable(sql),
    users: new UserTable(sql),
    issuers: issuerTable(sql),
    tokens: new TokenTable(sql),
    services: new ServiceTable(sql),
    exposures: new ExposureTable(sql),
    clusters: new ClusterTable(sql),
    certificates: new CertificateTable(sql),
    sessions: new SessionTable(sql),
    attempts: new AttemptTable(sql),
    links: new LinkTable(sql),
    devices: new DeviceTable(sql),
    minted: new MintedTable(sql),
    events: new EventTable(sql),
    vault: new VaultTable(sql),
    ...planTables(sql),
    ...factorTables(sql),
  };
}

export class Store implements Closable {
  /** Single statements, each on its own. Not to be used inside `write` or `read`. */
  readonly tables: Tables;
  /** Whether other servers may work on the same database. */
  readonly shared: boolean;
  /** How long work with the database has taken. */
  readonly times: StoreTimes;
  readonly #database: Database;

  constructor(inner: Database) {
    const database = new TimedDatabase(inner, () => performance.now());
    this.#database = database;
    this.times = database.times;
    this.tables = tablesOver(database);
    this.shared = database.engine === 'postgres';
  }

  /** One transaction, the only writer over all servers. `announce` wakes the others when it commits. */
  async write<T>(work: (tables: Tables, announce: () => Promise<void>) => Promise<T>): Promise<T> {
    return await this.#database.transaction((tx) => work(tablesOver(tx), () => this.#database.announce(tx)));
  }

  /** Several reads over one state. */
  async read<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    return await this.#database.snapshot((tx) => work(tablesOver(tx)));
  }

  onAnnounced(wake: () => void): () => void {
    return this.#database.onAnnounced(wake);
  }

  async close(): Promise<void> {
    await this.#database.close();
  }
}

/** Opens `sqlite:PATH` (also `sqlite::memory:`) or `postgres://…` and brings the schema up to date. */
export async function openStore(url: string, log: Logger): Promise<Store> {
  const database = await openDatabase(url, log);
  try {
    await migrate(database);
    return new Store(database);
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** The engine behind a URL, without a schema. */
export async function openDatabase(url: string, log: Logger): Promise<Database> {
  if (url.startsWith('sqlite:')) return openSqlite(url.slice('sqlite:'.length));
  if (/^postgres(?:ql)?:\/\//.test(url)) return await openPostgres(url, log);
  throw storeError('STORE_URL_INVALID');
}
