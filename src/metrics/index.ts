// What a process tells monitoring: `/metrics`, `/healthz/live`, `/healthz/ready`.
export { certificateFamilies, type CertificateFigures } from './certificates.ts';
export { serveMetrics } from './endpoint.ts';
export { counter, gauge, histogram, single, type Family } from './family.ts';
export { meshFamilies } from './mesh.ts';
export { metricsSettings } from './settings.ts';
