// Errors are a table: each folder defines its own with `defineErrors`, and nothing throws outside one.

/** Who has to change something: the person who configured us, the other side, or nobody (try again later). */
export type ErrorOrigin = 'input' | 'peer' | 'internal';

export interface ErrorRow {
  /** What anybody may read: what happened and what to do. No secrets, no internals. */
  readonly text: string;
  readonly origin: ErrorOrigin;
  /** Whether the same call may succeed later without anybody changing anything. */
  readonly retry: boolean;
  /** The HTTP status that an HTTP answer about it carries. */
  readonly status: number;
}

export type ErrorTable = Readonly<Record<string, ErrorRow>>;

/** The only error class of the product. `message` is the public text, `detail` is for the log. */
export class MeshgateError extends Error {
  override readonly name = 'MeshgateError';
  readonly code: string;
  readonly detail: string;
  readonly row: ErrorRow;

  constructor(code: string, row: ErrorRow, detail: string, cause: unknown) {
    super(row.text, cause === undefined ? undefined : { cause });
    this.code = code;
    this.row = row;
    this.detail = detail;
  }
}

/** Makes an error of one row; `detail` is private and goes to the log only. */
export type ErrorMaker<Code extends string> = (code: Code, detail?: string, cause?: unknown) => MeshgateError;

const tables = new Map<string, ErrorTable>();

/**
 * Registers a folder's table and returns the maker of its errors. Codes are `FOLDER_REASON`, unique in the product;
 * a second registration of a code is a programming error.
 */
export function defineErrors<Code extends string>(folder: string, table: Readonly<Record<Code, ErrorRow>>): ErrorMaker<Code> {
  if (tables.has(folder)) throw new TypeError(`the error table of ${folder} is defined twice`);
  tables.set(folder, table);
  return (code, detail = '', cause) => new MeshgateError(code, table[code], detail, cause);
}

/** Every table that has been loaded, for the documentation and its test. */
export function errorTables(): ReadonlyMap<string, ErrorTable> {
  return tables;
}

/** One line for the log: code, detail and the chain of causes. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const head =
    error instanceof MeshgateError
      ? `${error.code}: ${error.message}${error.detail === '' ? '' : ` (${error.detail})`}`
      : error.message || error.name;
  return error.cause === undefined ? head : `${head} <- ${describeError(error.cause)}`;
}

/** The `code` that Node and this product put on errors, or undefined. */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
