import type { RunOptions } from './options.ts'

/** One measured run of one variant: metric → value. */
export type Sample = { readonly [metric: string]: number }

export interface Metric {
  readonly key: string
  readonly label: string
  readonly unit: string
  /** What the server under test must reach. */
  readonly bars?: readonly Bar[]
}

/** `against` a variant: the ratio of both medians; without: the value itself. */
export interface Bar {
  readonly against?: string
  readonly atLeast?: number
  readonly atMost?: number
}

/** One way of using the server, measured on several servers one after the other. */
export interface Scenario {
  /** P1, P2, … */
  readonly name: string
  readonly title: string
  /** The first one is the server under test. */
  readonly variants: readonly string[]
  readonly metrics: readonly Metric[]
  /** Takes long and is run only when it is named, or with all its like. */
  readonly isGrowth?: boolean
  /** Of a scenario whose variants are sizes: how a metric moves with them. */
  readonly chart?: { readonly file: string; readonly metric: Metric['label']; readonly xLabel: string }
  /** Runs once. What must hold of every run is checked there: a wrong count throws. */
  run(variant: string, options: RunOptions): Promise<Sample>
}
