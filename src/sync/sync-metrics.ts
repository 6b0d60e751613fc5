import type { ConnectionErrorCode } from '../protocol/connection-errors.ts'

/** The outcome of an operation. `failed`: the store could not commit, and the client sends it again. */
export type OperationOutcome = 'applied' | 'duplicate' | 'refused' | 'ignored' | 'failed'

/**
 * What the sync layer counts as it happens; the rest is read from its state when metrics are read. Called once per
 * batch or group, not per operation.
 */
export interface SyncMetrics {
  operations(outcome: OperationOutcome, count: number): void
  /** One transaction: how many operations it had and how long it took. */
  committed(operations: number, durationMs: number): void
  /** A batch was acknowledged, this long after it had arrived. */
  acknowledged(durationMs: number): void
  /** An operation of a client was refused. The code may be one of the application's. */
  refused(code: string): void
  /** The server ended a session. */
  sessionFailed(code: ConnectionErrorCode): void
}

export const noMetrics: SyncMetrics = {
  operations() {},
  committed() {},
  acknowledged() {},
  refused() {},
  sessionFailed() {},
}
