import { changeCount } from '../../core/change-count.ts'
import { networkOf } from '../../core/network-of.ts'
import type { ConnectionErrorCode } from '../../protocol/connection-errors.ts'
import type { SyncLimits } from '../options.ts'

type ConnectionLimits = Pick<
  SyncLimits,
  'maxConnections' | 'maxConnectionsPerUser' | 'maxConnectionsPerAddress'
>

/** Counts open connections per network and per user, and refuses those beyond the limits. */
export class ConnectionCounts {
  readonly #limits: ConnectionLimits
  readonly #byNetwork = new Map<string, number>()
  readonly #byUser = new Map<string, number>()

  constructor(limits: ConnectionLimits) {
    this.#limits = limits
  }

  countAddress(address: string | undefined, change: 1 | -1): void {
    if (address !== undefined) changeCount(this.#byNetwork, networkOf(address), change)
  }

  countUser(userId: string | undefined, change: 1 | -1): void {
    if (userId !== undefined) changeCount(this.#byUser, userId, change)
  }

  /**
   * Refuses a connection beyond the limits; it has already been counted.
   *
   * @param open connections in all
   */
  refuseConnection(address: string | undefined, open: number): ConnectionErrorCode | null {
    const { maxConnections, maxConnectionsPerAddress } = this.#limits
    const fromNetwork = this.#byNetwork.get(networkOf(address ?? '')) ?? 0
    if (maxConnections > 0 && open > maxConnections) return 'MAX_CONNECTIONS'
    if (maxConnectionsPerAddress > 0 && fromNetwork > maxConnectionsPerAddress) return 'MAX_CONNECTIONS'
    return null
  }

  /** Refuses a connection beyond the limit of its user; it has not been counted yet. */
  refuseUser(userId: string): ConnectionErrorCode | null {
    const { maxConnectionsPerUser } = this.#limits
    if (maxConnectionsPerUser === 0) return null
    const open = this.#byUser.get(userId) ?? 0
    return open >= maxConnectionsPerUser ? 'MAX_CONNECTIONS' : null
  }
}
