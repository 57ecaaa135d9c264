// A control plane that is newer than this gateway: proofs and restrictions that it asks for and we do not know must close the service.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import t from 'tap';
import { mappingFrom } from '#control/translate-proxy.ts';
import { AccessRestrictionsSchema, AuthenticationSchema, ProxyMappingSchema } from '#wire/proto/gen/proxy_service_pb.ts';

/** Field 500, a varint of 1: nothing that any schema of ours has. */
const unknownField = Buffer.from([0xa0, 0x1f, 1]);

void t.test('what is asked for in an unknown way closes the service', async (t) => {
  const plain = { id: 's', domain: 'a.test', path: [{ path: '/', target: 'http://10.0.0.1:80' }] };
  t.match(mappingFrom(create(ProxyMappingSchema, plain)), { id: 's' });
  const auth = fromBinary(AuthenticationSchema, Buffer.concat([toBinary(AuthenticationSchema, create(AuthenticationSchema)), unknownField]));
  t.match(mappingFrom(create(ProxyMappingSchema, { ...plain, auth })), { unusable: /proof/ });
  const empty = toBinary(AccessRestrictionsSchema, create(AccessRestrictionsSchema));
  const accessRestrictions = fromBinary(AccessRestrictionsSchema, Buffer.concat([empty, unknownField]));
  t.match(mappingFrom(create(ProxyMappingSchema, { ...plain, accessRestrictions })), { unusable: /restrictions/ });
});
