// Everything that rpc/ throws: one row per gRPC status, and what is wrong before there is one.
import { defineErrors } from '#lib/errors.ts';

export const rpcError = defineErrors('rpc', {
  RPC_CANCELLED: { text: 'The call was cancelled.', origin: 'internal', retry: false, status: 499 },
  RPC_UNKNOWN: { text: 'The other side failed for an unknown reason.', origin: 'peer', retry: true, status: 502 },
  RPC_INVALID_ARGUMENT: { text: 'The request was not understood.', origin: 'input', retry: false, status: 400 },
  RPC_DEADLINE: { text: 'The other side did not answer in time.', origin: 'peer', retry: true, status: 504 },
  RPC_NOT_FOUND: { text: 'There is no such thing.', origin: 'input', retry: false, status: 404 },
  RPC_ALREADY_EXISTS: { text: 'This is there already.', origin: 'input', retry: false, status: 409 },
  RPC_PERMISSION_DENIED: { text: 'The control plane refused this.', origin: 'input', retry: false, status: 403 },
  RPC_RESOURCE_EXHAUSTED: { text: 'Too much at once. Try again later.', origin: 'peer', retry: true, status: 429 },
  RPC_FAILED_PRECONDITION: { text: 'This is not possible in the present state.', origin: 'input', retry: false, status: 412 },
  RPC_UNIMPLEMENTED: { text: 'The other side does not offer this.', origin: 'peer', retry: false, status: 501 },
  RPC_INTERNAL: { text: 'Something went wrong here.', origin: 'internal', retry: true, status: 500 },
  RPC_UNAVAILABLE: { text: 'The control plane cannot be reached.', origin: 'peer', retry: true, status: 503 },
  RPC_UNAUTHENTICATED: { text: 'The token is missing, unknown, expired or revoked.', origin: 'input', retry: false, status: 401 },
  RPC_BAD_ADDRESS: { text: 'The address must be https://host or http://host, with an optional port.', origin: 'input', retry: false, status: 400 },
  RPC_BAD_CERTIFICATE: { text: 'The certificate, its key or the extra roots cannot be read.', origin: 'input', retry: false, status: 500 },
  RPC_UNSEALABLE: { text: 'The envelope cannot be opened.', origin: 'peer', retry: true, status: 400 },
});

export type RpcCode = Parameters<typeof rpcError>[0];
