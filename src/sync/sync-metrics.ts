import type { ConnectionErrorCode } from '../protocol/connection-errors.ts'

/** What became of an operation. `failed`: the store could not commit, the client sends it again. */
export type OperationOutcome = 'applied' | 'duplicate' | 'refused' | 'ignored' | 'failed'

/**
 * What the sync layer counts as it happens; the rest is read from its state when somebody asks.
 * Called once per batch or group, not per operation.
 */
export interface SyncMetrics {
  operations(outcome: OperationOutcome, count: number): void
  /** One transaction, with how many operations and for how long. */
  committed(operations: number, durationMs: number): void
  /** A batch was acknowledged, so long after it had arrived. */
  acknowledged(durationMs: number): void
  /** An operation of a client was refused. The code may be one of the application. */
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
