/** How large the runs are and what is kept of them. */
export interface RunOptions {
  /** `smoke`: as small as it can be, to see that everything runs and counts are right. */
  readonly size: 'smoke' | 'full'
  /** For the databases of this run; removed afterwards. */
  readonly directory: string
  /** Scenario and variant, for what is kept of this round: `P1-limit`. */
  readonly label: string
  /** Where CPU profiles of the servers of this round go; null: none are taken. */
  readonly profileDirectory: string | null
}

/** The size of something, by the size of the run. */
export function sized({ size }: RunOptions, full: number, smoke: number): number {
  return size === 'full' ? full : smoke
}
