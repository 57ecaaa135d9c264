// What can go wrong at a gateway, apart from what its mesh node and its publisher report.
import { defineErrors } from '#lib/errors.ts';

const input = { origin: 'input', retry: false, status: 500 } as const;

export const gatewayError = defineErrors('gateway', {
  GATEWAY_CONTROL_INSECURE: {
    text: 'control.url is not https: the token and everything that the control plane says would travel in the clear. Use https, or set control.allowInsecure.',
    ...input,
  },
  GATEWAY_TOKEN_MISSING: {
    text: 'The gateway has no token. Make one with `meshgate proxy-token create` and name its file in tokenFile, or set MESHGATE_GATEWAY_TOKEN.',
    ...input,
  },
  GATEWAY_FILE_UNREADABLE: { text: 'A file that the configuration names cannot be read.', ...input },
  GATEWAY_LOGO: {
    text: 'The picture in pages.logoFile is no PNG, JPEG, WebP or GIF of at most 64 KB. SVG is not taken: it can hold scripts.',
    ...input,
  },
  GATEWAY_ACME_TERMS: {
    text: 'acme.termsAgreed is not set. Read the terms of service of the authorities in acme.authorities, and set it to true.',
    ...input,
  },
  GATEWAY_ACME_DNS: {
    text: 'dns-01 needs acme.dns: server, keyName and keyFile of a name server that takes updates, or command. Wildcard names in acme.together need it too.',
    ...input,
  },
  GATEWAY_CROWDSEC: {
    text: 'The CrowdSec LAPI does not tell its decisions. Check crowdsec.url and the key in crowdsec.keyFile (`cscli bouncers add`).',
    origin: 'input',
    retry: true,
    status: 502,
  },
  GATEWAY_CROWDSEC_KEY: { text: 'crowdsec.url needs crowdsec.keyFile: the file with a key from `cscli bouncers add`.', ...input },
  GATEWAY_COLLECTOR: {
    text: 'The collector does not take spans. Check tracing.collector and its sign-in.',
    origin: 'input',
    retry: true,
    status: 502,
  },
  GATEWAY_TARGET_SPECIAL: {
    text: 'The target is dialled by the gateway itself and leads to a link-local, multicast, unspecified or metadata address. Those are never dialled.',
    ...input,
  },
  GATEWAY_PORT_IN_USE: { text: 'The public port is in use. Stop the program that holds it, or change listen.', ...input },
  GATEWAY_PORT_FORBIDDEN: { text: 'This user may not open the public port. Choose a port above 1023, or grant CAP_NET_BIND_SERVICE.', ...input },
  GATEWAY_PORT_FAILED: { text: 'The public port cannot be opened. Check the address in listen.', ...input },
});
