import { createColours } from '../output/colours.ts'
import { escapeControls } from '../output/escape-controls.ts'
import { formatElapsed } from '../output/format.ts'
import type { Terminal } from '../terminal.ts'
import type { ServerAnswer } from './ask-server.ts'

const MAX_LIST = 5

/** The status for people: one line per value, under the server's name for it. */
export function renderStatus({ isHealthy, details }: ServerAnswer, { stdout, env }: Terminal): string {
  const colours = createColours(stdout, env)
  const { ready: _ready, running: _running, status: _status, reason: _reason, ...values } = details
  const rows = Object.entries(values).map(([name, value]) => [labelOf(name), valueText(name, value)] as const)
  const width = Math.max(6, ...rows.map(([label]) => label.length))
  const state = isHealthy ? colours.green('ready') : colours.red('not ready')
  const lines = rows.map(([label, text]) => `${label.padEnd(width)}  ${escapeControls(text)}`)
  return `${[`${'status'.padEnd(width)}  ${state}`, ...lines].join('\n')}\n`
}

/** connectedClients → "connected clients" */
function labelOf(name: string): string {
  return escapeControls(name.replace(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`))
}

function valueText(name: string, value: unknown): string {
  if (name === 'uptime' && typeof value === 'number') return formatElapsed(value)
  if (name === 'uptimeSeconds' && typeof value === 'number') return formatElapsed(value * 1000)
  if (typeof value === 'string' || typeof value === 'number') return String(value)
  if (Array.isArray(value)) return listText(name === 'servers' ? value.map(serverText) : value)
  return JSON.stringify(value)
}

/** One of the servers that share the database. */
function serverText(server: unknown): string {
  const { id, isThis } = (server ?? {}) as { id?: unknown; isThis?: unknown }
  return isThis === true ? `${String(id)} (this one)` : String(id)
}

function listText(values: readonly unknown[]): string {
  const shown = values.slice(0, MAX_LIST).map(String).join(', ')
  return values.length > MAX_LIST ? `${shown}, and ${values.length - MAX_LIST} more` : shown || 'none'
}
