import picocolors from 'picocolors'
import type { Output, Terminal } from '../terminal.ts'

export type Colours = ReturnType<typeof picocolors.createColors>

/** The colours of one output: none unless it is a terminal, and none when NO_COLOR is set. */
export function createColours(output: Output, env: Terminal['env']): Colours {
  return picocolors.createColors(output.isTerminal && !env.NO_COLOR && env.TERM !== 'dumb')
}
