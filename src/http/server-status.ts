import type { RunningServer } from '../store/store.ts'

/** What a running server says of itself. */
export interface ServerStatus {
  readonly running: boolean
  /** Open sessions, also those whose handshake is not accepted yet. */
  readonly connectedClients: number
  /** null while not listening */
  readonly port: number | null
  /** Client operations and side effects that the log holds. */
  readonly totalOperations: number
  /** ms since `start()`; 0 while not running */
  readonly uptime: number
  /** Release of this package. */
  readonly version: string
  readonly schemaVersion: number
  /** Each once, of the sessions that have said who they are. */
  readonly connectedNodeIds: string[]
  /** The most sessions that were open at once. This and what follows begins anew when a stopped server is started. */
  readonly peakConnections: number
  /** Connections that have come. */
  readonly connectionsTotal: number
  /** In batches of clients, whatever became of them. */
  readonly operationsReceived: number
  /** Delivered to clients: an operation counts for each of them, and each time that it is sent again. */
  readonly operationsSent: number
  /** Operations that were refused, and sessions that were ended with an error. */
  readonly errorCount: number
  /** All servers on the same database; absent where there can be only one. */
  readonly servers?: readonly RunningServer[]
}
