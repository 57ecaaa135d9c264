// What processes use of publish/: the HTTP publisher, route tables, the certificate directory and the access log.
export { createHttpPublisher, type HttpPublisher, type HttpPublisherDeps } from './http/publisher.ts';
export { buildRouteTable, RouteTable } from './http/routes.ts';
export { buildStreamTable, streamRefusal, type StreamTable } from './stream/services.ts';
export { Unlocks } from './stream/unlocks.ts';
export { createStreamPublisher, type StreamPublisher } from './stream/publisher.ts';
export { openCertificateDirectory, type CertificateDirectory } from './certs/directory.ts';
export { readCertificate, type Certificate } from './certs/certificate.ts';
export type { AccessBackend, IdentityHeaders, SignIn, SignInPlace, SignInResult } from './access/backend.ts';
export { policyProblem } from './access/proofs.ts';
export { createIdentityHeaders, createLoginStates, createSignIn, type RelyingParty } from './access/sign-in.ts';
export { createAccessLog, type AccessLogSink } from './accesslog/access-log.ts';
export { createBatchSink } from './accesslog/batch-sink.ts';
export { SpanExporter } from './tracing/span-exporter.ts';
export { Tracing } from './tracing/trace-context.ts';
export { Traffic } from './accesslog/traffic.ts';
export { lineFormats, type LineFormat } from './accesslog/line-format.ts';
export { createLineSink, openFileSink } from './accesslog/line-sink.ts';
export { Spool } from './accesslog/spool.ts';
