import { changeCount } from '../../core/change-count.ts'
import { networkOf } from '../../core/network-of.ts'
import type { ConnectionErrorCode } from '../../protocol/connection-errors.ts'
import type { SyncLimits } from '../options.ts'

type ConnectionLimits = Pick<
  SyncLimits,
  'maxConnections' | 'maxConnectionsPerUser' | 'maxConnectionsPerAddress'
>

/** How many connections are open from each network, and of each user, and which are too many. */
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
   * Refuses one connection too many, which is counted already.
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

  /** Refuses one more connection of a user who has as many as there may be; it is not counted yet. */
  refuseUser(userId: string): ConnectionErrorCode | null {
    const { maxConnectionsPerUser } = this.#limits
    if (maxConnectionsPerUser === 0) return null
    const open = this.#byUser.get(userId) ?? 0
    return open >= maxConnectionsPerUser ? 'MAX_CONNECTIONS' : null
  }
}
