// What a machine must be like to count as a source of a policy.
import type { Brand } from './ids.ts';

export type PostureCheckId = Brand<string, 'PostureCheckId'>;

/** Minimum versions by system: of the kernel on Linux and Windows, of the system elsewhere. A system that is left out does not pass. */
export interface SystemVersions {
  readonly android?: string | undefined;
  readonly darwin?: string | undefined;
  readonly ios?: string | undefined;
  readonly linux?: string | undefined;
  readonly windows?: string | undefined;
}

/** A program by its path on each system; a system without one does not pass. */
export interface ProcessPaths {
  readonly linux?: string | undefined;
  readonly mac?: string | undefined;
  readonly windows?: string | undefined;
}

/** A machine passes where it passes each part that is there. */
export interface PostureCheck {
  readonly id: PostureCheckId;
  readonly name: string;
  readonly description: string;
  /** Of the client. */
  readonly minVersion?: string | undefined;
  readonly systems?: SystemVersions | undefined;
  /** Ranges that hold one of the machine's own networks, or the address that it comes from. */
  readonly networks?: { readonly action: 'allow' | 'deny'; readonly ranges: readonly string[] } | undefined;
  /** All of them have to run. */
  readonly processes?: readonly ProcessPaths[] | undefined;
}

/** What a machine says of itself that only posture checks ask for. */
export interface PostureFacts {
  /** Prefixes of its interfaces. */
  readonly networks: readonly string[];
  /** Paths of programs that run, of those that were asked for. */
  readonly running: readonly string[];
}
