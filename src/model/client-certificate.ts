// Certificates that clients show in the TLS handshake.

/** Who may open a TLS connection to a host: who shows a certificate that one of these authorities has issued, for clients. */
export interface ClientCertificateRule {
  /** One PEM certificate or more. */
  readonly ca: string;
  /** Without: who shows none gets in too, and is told from those who do. Who shows a bad one never does. */
  readonly required: boolean;
}
