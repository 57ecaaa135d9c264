// Who can put TXT records into DNS for dns-01. Several values of one name stand beside each other: a wildcard and its parent share it.

export interface DnsRecords {
  /** Resolves when whoever asks the zone's servers sees it. */
  add(name: string, value: string, signal: AbortSignal): Promise<void>;
  /** A record that is gone already is no failure. */
  remove(name: string, value: string, signal: AbortSignal): Promise<void>;
}
