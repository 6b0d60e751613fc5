import type { EffectiveConfig } from '../../config/server-config.ts'
import { describeAuth, describeStore, displayPath, isUnscoped } from '../describe-config.ts'
import type { Terminal } from '../terminal.ts'
import { createColours } from './colours.ts'
import { escapeControls } from './escape-controls.ts'
import { formatQuantity } from './format.ts'

/** Where the running server is reached. */
export interface ServedUrls {
  readonly sync: string
  readonly health: string | null
}

/** What `start` says on a terminal: what is served, from what, to whom. */
export function formatBanner(
  config: EffectiveConfig,
  urls: ServedUrls,
  version: string,
  terminal: Terminal,
): string {
  const colours = createColours(terminal.stderr, terminal.env)
  const isRisky = config.values.auth.mode === 'none' || isUnscoped(config.values.auth)
  const auth = escapeControls(describeAuth(config.values.auth))
  const rows: [string, string][] = [
    ['Sync', colours.cyan(urls.sync)],
    ['Store', escapeControls(describeStore(config.values.store, terminal.cwd))],
    ['Schema', escapeControls(describeSchema(config, terminal.cwd))],
    ['Auth', isRisky ? colours.yellow(auth) : auth],
    ...(urls.health === null ? [] : [['Health', colours.cyan(urls.health)] as [string, string]]),
    ['Config', escapeControls(describeSource(config, terminal.cwd))],
  ]
  const lines = rows.map(([label, text]) => `  ${colours.bold(label.padEnd(8))}${text}`)
  return `\n  ${colours.bold(colours.green('kora-server'))} ${version}\n\n${lines.join('\n')}\n\n  ${colours.dim('Ctrl+C stops it.')}\n\n`
}

function describeSchema({ values: { schema } }: EffectiveConfig, cwd: string): string {
  if (schema === null) return 'none: clients sync, but records cannot be queried (--schema <file>)'
  const collections = formatQuantity(Object.keys(schema.definition.collections).length, 'collection')
  const source = schema.file === null ? '' : `, ${displayPath(schema.file, cwd)}`
  return `version ${schema.definition.version}, ${collections}${source}`
}

function describeSource({ file }: EffectiveConfig, cwd: string): string {
  return file === null ? 'none found: these are the defaults' : displayPath(file, cwd)
}
