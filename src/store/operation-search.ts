/** Which operations of the log are wanted; all given conditions must hold. */
export interface OperationFilter {
  readonly collection?: string
  readonly recordId?: string
  readonly nodeId?: string
  /** ms since the epoch, compared with the wall time of the operation's clock. */
  readonly writtenFrom?: number
}

export interface OperationPage {
  /** Operations above this delivery sequence. */
  readonly after: number
  /** Most operations to return. */
  readonly limit: number
  /** Most bytes of wire JSON to return; one operation is returned even if it is larger. */
  readonly maxBytes: number
}

export interface LoggedOperation {
  readonly deliverySequence: number
  readonly wireJson: string
}

/** Reads of the log for people and backups: operations only, without snapshots. */
export interface OperationSearch {
  /** The first matching operations, in delivery order; none: the end is reached. */
  readOperations(filter: OperationFilter, page: OperationPage): Promise<readonly LoggedOperation[]>
  /** The delivery sequence above which the last `count` matching operations lie. */
  findOperationTail(filter: OperationFilter, count: number): Promise<number>
}
