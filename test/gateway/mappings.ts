// A service as a control plane sends it, for tests of the gateway.
import { asId, type AccountId, type ServiceId } from '#model/ids.ts';
import { defaultTargetOptions, noRestrictions, type ServiceMapping } from '#model/service.ts';
import { defaultStream } from '#model/stream.ts';
import { defaultWeb } from '#model/web.ts';
import { plainAccess, signInProofs } from '#model/access.ts';

export function mapping(id: string, change: Partial<ServiceMapping> = {}): ServiceMapping {
  return {
    id: asId<ServiceId>(id),
    accountId: asId<AccountId>('account'),
    domain: `${id}.example.com`,
    mode: 'http',
    listenPort: undefined,
    paths: [
      {
        path: '/',
        targets: [{ protocol: 'http', host: '100.64.0.9', port: 80, basePath: '', weight: 1 }],
        options: defaultTargetOptions,
      },
    ],
    access: { ...plainAccess, proofs: signInProofs },
    passHostHeader: true,
    rewriteRedirects: false,
    restrictions: noRestrictions,
    private: false,
    web: defaultWeb,
    stream: defaultStream,
    authToken: `once-${id}`,
    ...change,
  };
}
