// Whose service a record is about, also of services that have just gone: their last records come after them.
import type { AccountId, ServiceId } from '#model/ids.ts';
import type { ServiceMapping } from '#model/service.ts';
import { maxGoneServices } from '../constants.ts';

export class ServiceAccounts {
  readonly #current: () => ReadonlyMap<ServiceId, ServiceMapping>;
  readonly #gone = new Map<ServiceId, AccountId>();

  constructor(current: () => ReadonlyMap<ServiceId, ServiceMapping>) {
    this.#current = current;
  }

  remember(gone: readonly ServiceMapping[]): void {
    for (const { id, accountId } of gone) this.#gone.set(id, accountId);
    for (const id of this.#gone.keys()) {
      if (this.#gone.size <= maxGoneServices) break;
      this.#gone.delete(id);
    }
  }

  of(id: ServiceId): AccountId | undefined {
    return this.#current().get(id)?.accountId ?? this.#gone.get(id);
  }
}
