import type { RunningServer } from '../store/store.ts'

/** What a running server says of itself. */
export interface ServerStatus {
  readonly running: boolean
  readonly connectedClients: number
  /** null while not listening */
  readonly port: number | null
  readonly totalOperations: number
  /** ms since `start()`; 0 while not running */
  readonly uptime: number
  /** Release of this package. */
  readonly version: string
  readonly schemaVersion: number
  readonly connectedNodeIds: readonly string[]
  readonly peakConnections: number
  readonly connectionsTotal: number
  readonly operationsReceived: number
  readonly operationsSent: number
  readonly errorCount: number
  /** All servers on the same database; absent where there can be only one. */
  readonly servers?: readonly RunningServer[]
}
