import type { RunningServer } from '../store/store.ts'

/** The status that a running server reports. */
export interface ServerStatus {
  readonly running: boolean
  /** Open sessions, including those whose handshake is not accepted yet. */
  readonly connectedClients: number
  /** null while not listening */
  readonly port: number | null
  /** Client operations and side effects in the log. */
  readonly totalOperations: number
  /** ms since `start()`; 0 while not running */
  readonly uptime: number
  /** Release of this package. */
  readonly version: string
  readonly schemaVersion: number
  /** Node ids of the sessions whose handshake is accepted, each once. */
  readonly connectedNodeIds: string[]
  /** The most sessions open at once. This and the counters below restart when a stopped server is started again. */
  readonly peakConnections: number
  /** Connections accepted so far. */
  readonly connectionsTotal: number
  /** Operations in batches of clients, whatever their outcome. */
  readonly operationsReceived: number
  /** Operations delivered to clients, counted for each client and each time that they are sent again. */
  readonly operationsSent: number
  /** Refused operations, plus sessions that ended with an error. */
  readonly errorCount: number
  /** All servers on the same database; absent where there can be only one. */
  readonly servers?: readonly RunningServer[]
}
