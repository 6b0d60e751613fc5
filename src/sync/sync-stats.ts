/** Counters of one server since its start. */
export interface SyncStats {
  operationsReceived: number
  operationsSent: number
  errorCount: number
  connectionsTotal: number
  peakConnections: number
  /** Operations whose id is not the hash of what arrived. */
  idMismatches: number
}
