import { displayPath } from '../../config/display-path.ts'
import type { ConfigOrigin, EffectiveConfig } from '../../config/server-config.ts'
import { assertNever } from '../../core/errors.ts'
import type { Terminal } from '../terminal.ts'
import { createColours } from './colours.ts'
import { escapeControls } from './escape-controls.ts'

const MAX_VALUE_WIDTH = 40 // a longer value shifts only its own origin, not those of all others

/** Prints every option that has a value: its path, the value, and its origin. */
export async function printConfig(config: EffectiveConfig, { stdout, env, cwd }: Terminal): Promise<void> {
  const colours = createColours(stdout, env)
  const entries = config.entries.map((entry) => ({ ...entry, display: escapeControls(entry.display) }))
  const pathWidth = Math.max(...entries.map(({ path }) => path.length))
  const valueWidth = Math.min(MAX_VALUE_WIDTH, Math.max(...entries.map(({ display }) => display.length)))
  for (const { path, display, origin } of entries) {
    const source = describeOrigin(origin, config.file, cwd)
    await stdout.write(`${path.padEnd(pathWidth)}  ${display.padEnd(valueWidth)}  ${colours.dim(source)}\n`)
  }
  await stdout.write('\n')
}

function describeOrigin(origin: ConfigOrigin, file: string | null, cwd: string): string {
  switch (origin.kind) {
    case 'flag':
      return `flag ${origin.name}`
    case 'environment':
      return `environment ${origin.name}`
    case 'dotenv':
      return `.env ${origin.name}`
    case 'file':
      return file === null ? 'file' : displayPath(file, cwd)
    case 'schema':
      return 'schema'
    case 'default':
      return 'default'
    default:
      return assertNever(origin)
  }
}
