// What can go wrong at the metrics endpoint.
import { defineErrors } from '#lib/errors.ts';

export const metricsError = defineErrors('metrics', {
  METRICS_PORT_FAILED: {
    text: 'The address in metrics.listen cannot be opened. Choose another port, or an address of this host.',
    origin: 'input',
    retry: false,
    status: 500,
  },
});
