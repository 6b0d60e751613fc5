import { Presets, SingleBar } from 'cli-progress'
import type { SchemaProgress } from '../../store/store.ts'
import type { Terminal } from '../terminal.ts'
import { formatCount, formatElapsed } from './format.ts'

const PHASE_VERBS = { tables: 'creating', backfill: 'filling', rebuild: 'rebuilding' } as const

/** Shows how far work on the tables has come: one bar per collection, on a terminal only. */
export class ProgressDisplay {
  readonly #terminal: Terminal
  #bar: SingleBar | null = null
  #label = ''
  #startedAt = 0

  constructor(terminal: Terminal) {
    this.#terminal = terminal
  }

  update(progress: SchemaProgress): void {
    if (!this.#terminal.stderr.isTerminal || progress.recordsTotal === 0) return
    const label = `${PHASE_VERBS[progress.phase]} ${progress.collection}`
    if (label !== this.#label) this.#startBar(label, progress)
    this.#bar?.setTotal(progress.recordsTotal)
    this.#bar?.update(progress.recordsDone, this.#pace(progress))
  }

  /** Leaves the terminal as it was found. */
  stop(): void {
    this.#bar?.stop()
    this.#bar = null
    this.#label = ''
  }

  #startBar(label: string, progress: SchemaProgress): void {
    this.stop()
    this.#label = label
    this.#startedAt = this.#terminal.now()
    this.#bar = new SingleBar(
      {
        stream: this.#terminal.stderr.stream as NodeJS.WritableStream,
        format: `${label} {bar} {percentage}% | {done} of {all} records | {rate} | {left}`,
        clearOnComplete: true,
        hideCursor: true,
        gracefulExit: false,
        barsize: 24,
      },
      Presets.shades_classic,
    )
    this.#bar.start(progress.recordsTotal, progress.recordsDone, this.#pace(progress))
  }

  #pace({ recordsDone, recordsTotal }: SchemaProgress): Record<string, string> {
    const elapsedMs = this.#terminal.now() - this.#startedAt
    const perSecond = elapsedMs > 0 ? recordsDone / (elapsedMs / 1000) : 0
    const leftMs = perSecond > 0 ? ((recordsTotal - recordsDone) / perSecond) * 1000 : null
    return {
      done: formatCount(recordsDone),
      all: formatCount(recordsTotal),
      rate: `${formatCount(Math.round(perSecond))}/s`,
      left: leftMs === null ? 'estimating' : `${formatElapsed(leftMs)} left`,
    }
  }
}
