// Certificates that clients show in the TLS handshake.

/**
 * Who may open a TLS connection to a host: who shows a certificate that one of these authorities has issued, for clients. With `account` that is the
 * account's own authority, and the control plane says whose each certificate is, and whether it still counts.
 */
export interface ClientCertificateRule {
  readonly account?: boolean | undefined;
  /** One PEM certificate or more. As kept with `account` it is empty; gateways get the account's. */
  readonly ca: string;
  /** Without: who shows none gets in too, and is told from those who do. Who shows a bad one never does. */
  readonly required: boolean;
}
