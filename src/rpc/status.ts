// gRPC status codes and our errors, in both directions. The numbers are those of the gRPC specification.
import { status as grpcStatus, type ServiceError } from '@grpc/grpc-js';
import { describeError, MeshgateError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { maxStatusText } from './constants.ts';
import { rpcError, type RpcCode } from './errors.ts';

/** A status as it goes over the wire. */
export interface WireStatus {
  readonly code: number;
  readonly details: string;
}

const codeOfHttp: Readonly<Record<number, number>> = {
  400: grpcStatus.INVALID_ARGUMENT,
  401: grpcStatus.UNAUTHENTICATED,
  403: grpcStatus.PERMISSION_DENIED,
  404: grpcStatus.NOT_FOUND,
  409: grpcStatus.ALREADY_EXISTS,
  412: grpcStatus.FAILED_PRECONDITION,
  422: grpcStatus.INVALID_ARGUMENT,
  429: grpcStatus.RESOURCE_EXHAUSTED,
  499: grpcStatus.CANCELLED,
  501: grpcStatus.UNIMPLEMENTED,
  502: grpcStatus.UNKNOWN,
  503: grpcStatus.UNAVAILABLE,
  504: grpcStatus.DEADLINE_EXCEEDED,
};

/** The status for an error that a handler threw: by the HTTP status of its row. What is not ours says nothing but that it failed. */
export function statusOf(error: unknown): WireStatus {
  if (!(error instanceof MeshgateError)) return { code: grpcStatus.INTERNAL, details: 'failed handling request' };
  return { code: codeOfHttp[error.row.status] ?? grpcStatus.INTERNAL, details: error.message.slice(0, maxStatusText) };
}

const internal: number = grpcStatus.INTERNAL;

/** `statusOf`, and a log line where the fault is ours. */
export function statusOfLogged(error: unknown, path: string, log: Logger): WireStatus {
  const answer = statusOf(error);
  if (answer.code === internal) log.error('rpc handler failed', { path, reason: describeError(error) });
  return answer;
}

const rowOfCode: Readonly<Record<number, RpcCode>> = {
  [grpcStatus.CANCELLED]: 'RPC_CANCELLED',
  [grpcStatus.INVALID_ARGUMENT]: 'RPC_INVALID_ARGUMENT',
  [grpcStatus.DEADLINE_EXCEEDED]: 'RPC_DEADLINE',
  [grpcStatus.NOT_FOUND]: 'RPC_NOT_FOUND',
  [grpcStatus.ALREADY_EXISTS]: 'RPC_ALREADY_EXISTS',
  [grpcStatus.PERMISSION_DENIED]: 'RPC_PERMISSION_DENIED',
  [grpcStatus.RESOURCE_EXHAUSTED]: 'RPC_RESOURCE_EXHAUSTED',
  [grpcStatus.FAILED_PRECONDITION]: 'RPC_FAILED_PRECONDITION',
  [grpcStatus.UNIMPLEMENTED]: 'RPC_UNIMPLEMENTED',
  [grpcStatus.INTERNAL]: 'RPC_INTERNAL',
  [grpcStatus.UNAVAILABLE]: 'RPC_UNAVAILABLE',
  [grpcStatus.UNAUTHENTICATED]: 'RPC_UNAUTHENTICATED',
};

/** Our error for a failed call. `detail` is the other side's text, made printable: it may be shown, never trusted. */
export function errorOfStatus(error: unknown): MeshgateError {
  if (error instanceof MeshgateError) return error;
  if (!isServiceError(error)) return rpcError('RPC_CANCELLED', describeError(error), error); // ended on our side
  return rpcError(rowOfCode[error.code] ?? 'RPC_UNKNOWN', printable(error.details));
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error && typeof error.details === 'string';
}

/** Text from the other side without control characters, cut to a line's length. */
function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e\u00a0-\uffff]/g, ' ').slice(0, maxStatusText);
}
