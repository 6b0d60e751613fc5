import type { SchemaProgress } from '../../store/store.ts'
import type { Terminal } from '../terminal.ts'
import { ProgressBar } from './progress-bar.ts'

const PHASE_VERBS = {
  tables: 'creating',
  backfill: 'filling',
  rebuild: 'rebuilding',
  scopes: 'indexing',
} as const

/** Shows the progress of work on the tables: one bar per collection, on a terminal only. */
export class ProgressDisplay {
  readonly #bar: ProgressBar

  constructor(terminal: Terminal) {
    this.#bar = new ProgressBar(terminal)
  }

  update({ phase, collection, recordsDone, recordsTotal }: SchemaProgress): void {
    const label = `${PHASE_VERBS[phase]} ${collection}`
    this.#bar.update({ label, done: recordsDone, total: recordsTotal, unit: 'record' })
  }

  /** Restores the terminal. */
  stop(): void {
    this.#bar.stop()
  }
}
