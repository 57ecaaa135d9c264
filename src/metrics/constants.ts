// Limits of the metrics endpoint. Times in milliseconds.

/** Connections at a time; more are closed at once. A scraper needs one. */
export const maxConnections = 32;
/** A request's head has to be there by then, and a kept connection without a request is closed after it. */
export const requestMs = 10_000;
/** Requests on one connection; then it is closed. */
export const maxRequestsPerConnection = 1_000;
/** Answers to `/metrics` younger than this are given again, so that many askers cost as one. */
export const reuseMs = 1_000;
/** The answer to `/healthz/ready` is there by then, or is no. */
export const readyMs = 2_000;
/** Peers with own labels; those beyond are counted together as `other`. */
export const maxLabelledPeers = 100;
/** Certificates with own labels: those that end first. */
export const maxLabelledCertificates = 100;
/** Characters of a label. */
export const maxLabelText = 128;
/** How finely the delay of the event loop is sampled. */
export const loopSampleMs = 20;
