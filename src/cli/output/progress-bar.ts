import type { SingleBar } from 'cli-progress'
import { lazyRequire } from '../../core/lazy-require.ts'
import type { Terminal } from '../terminal.ts'
import { formatBytes, formatCount, formatElapsed, formatQuantity } from './format.ts'

const cliProgress = lazyRequire<typeof import('cli-progress')>('cli-progress')

export interface Progress {
  /** The work being done: "filling todos". Another label starts another bar. */
  readonly label: string
  readonly done: number
  readonly total: number
  readonly unit: 'record' | 'operation' | 'byte'
}

/** One line with a bar, the rate and the time left; on a terminal only. */
export class ProgressBar {
  readonly #terminal: Terminal
  #bar: SingleBar | null = null
  #label = ''
  #startedAt = 0

  constructor(terminal: Terminal) {
    this.#terminal = terminal
  }

  update(progress: Progress): void {
    if (!this.#terminal.stderr.isTerminal || progress.total === 0) return
    if (progress.label !== this.#label) this.#startBar(progress)
    this.#bar?.setTotal(progress.total)
    this.#bar?.update(progress.done, this.#pace(progress))
  }

  /** Restores the terminal. */
  stop(): void {
    this.#bar?.stop()
    this.#bar = null
    this.#label = ''
  }

  #startBar(progress: Progress): void {
    this.stop()
    this.#label = progress.label
    this.#startedAt = this.#terminal.now()
    const { Presets, SingleBar } = cliProgress()
    this.#bar = new SingleBar(
      {
        stream: this.#terminal.stderr.stream as NodeJS.WritableStream,
        format: `${progress.label} {bar} {percentage}% | {done} of {all} | {rate} | {left}`,
        clearOnComplete: true,
        hideCursor: true,
        gracefulExit: false,
        barsize: 24,
      },
      Presets.shades_classic,
    )
    this.#bar.start(progress.total, progress.done, this.#pace(progress))
  }

  #pace({ done, total, unit }: Progress): Record<string, string> {
    const elapsedMs = this.#terminal.now() - this.#startedAt
    const perSecond = elapsedMs > 0 ? done / (elapsedMs / 1000) : 0
    const leftMs = perSecond > 0 ? (Math.max(0, total - done) / perSecond) * 1000 : null
    const isBytes = unit === 'byte'
    return {
      done: isBytes ? formatBytes(done) : formatCount(done),
      all: isBytes ? formatBytes(total) : formatQuantity(total, unit),
      rate: isBytes ? `${formatBytes(Math.round(perSecond))}/s` : `${formatCount(Math.round(perSecond))}/s`,
      left: leftMs === null ? 'estimating' : `${formatElapsed(leftMs)} left`,
    }
  }
}
