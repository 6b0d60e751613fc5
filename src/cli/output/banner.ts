import { displayPath } from '../../config/display-path.ts'
import type { EffectiveConfig } from '../../config/server-config.ts'
import { describeAuth, describeSchema, describeStore, isUnscoped } from '../describe-config.ts'
import type { Terminal } from '../terminal.ts'
import { type Colours, createColours } from './colours.ts'
import { escapeControls } from './escape-controls.ts'

/** The addresses of the running server. */
export interface ServedUrls {
  readonly sync: string
  readonly health: string | null
  /** URL of the status for operators; null where no request could be admitted. */
  readonly status: string | null
  /** URL of the dashboard, which shows the same and more; null where it is off or no request could be admitted. */
  readonly dashboard: string | null
}

/** The text that `start` prints on a terminal: what is served, from which store, and to whom. */
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
    ['Schema', escapeControls(schemaLine(config, terminal.cwd))],
    ['Auth', isRisky ? colours.yellow(auth) : auth],
    ...(urls.health === null ? [] : [['Health', colours.cyan(urls.health)] as [string, string]]),
    ...(urls.status === null ? [] : [['Status', colours.cyan(urls.status)] as [string, string]]),
    ...dashboardRows(config, urls, colours),
    ['Config', escapeControls(describeSource(config, terminal.cwd))],
  ]
  const lines = rows.map(([label, text]) => `  ${colours.bold(label.padEnd(11))}${text}`)
  return `\n  ${colours.bold(colours.green('kora-server'))} ${version}\n\n${lines.join('\n')}\n\n  ${colours.dim('Ctrl+C stops it.')}\n\n`
}

function dashboardRows(
  config: EffectiveConfig,
  { status, dashboard }: ServedUrls,
  colours: Colours,
): [string, string][] {
  if (dashboard !== null) return [['Dashboard', `${colours.cyan(dashboard)}${tokenNote(config)}`]]
  const { http } = config.values
  const isClosed = http.dashboard && http.operations && status === null
  return isClosed ? [['Dashboard', 'closed: set KORA_ADMIN_TOKEN to open it']] : []
}

/** Warns about a dashboard without a token, which is served only where the server listens on loopback. */
function tokenNote({ values: { admin } }: EffectiveConfig): string {
  return admin.adminToken === null ? ' (no token: set KORA_ADMIN_TOKEN before a proxy stands in front)' : ''
}

function schemaLine({ values: { schema } }: EffectiveConfig, cwd: string): string {
  return schema === null
    ? 'none: clients sync, but records cannot be queried (--schema <file>)'
    : describeSchema(schema, cwd)
}

function describeSource({ file }: EffectiveConfig, cwd: string): string {
  return file === null ? 'none found: these are the defaults' : displayPath(file, cwd)
}
