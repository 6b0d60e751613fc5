import { OPTIONS } from '../../config/options.ts'
import type { ConfigOrigin, EffectiveConfig } from '../../config/server-config.ts'
import { assertNever } from '../../core/errors.ts'
import { displayPath } from '../describe-config.ts'
import type { Terminal } from '../terminal.ts'
import { createColours } from './colours.ts'
import { escapeControls } from './escape-controls.ts'
import { maskSecrets } from './mask-secrets.ts'

const SECRET_PATHS: ReadonlySet<string> = new Set(
  OPTIONS.filter((option) => 'isSecret' in option && option.isSecret).map((option) => option.path),
)
// Of a connection string only the password is secret; where it leads is what one wants to see.
const MASKED_IN_PART: ReadonlySet<string> = new Set(['store.connectionString'])

/** Prints every option: its path, its value, and where the value came from. Secrets show as `***`. */
export async function printConfig(config: EffectiveConfig, { stdout, env, cwd }: Terminal): Promise<void> {
  const colours = createColours(stdout, env)
  const rows = [...config.origins].map(([path, origin]) => [
    path,
    escapeControls(describeValue(path, valueAt(config.values, path))),
    describeOrigin(origin, config.file, cwd),
  ])
  const widths = [0, 1].map((column) =>
    Math.max(0, ...rows.map((row) => Math.min(40, row[column]?.length ?? 0))),
  )
  for (const [path = '', value = '', origin = ''] of rows) {
    await stdout.write(
      `${path.padEnd(widths[0] ?? 0)}  ${value.padEnd(widths[1] ?? 0)}  ${colours.dim(origin)}\n`,
    )
  }
  await stdout.write('\n')
}

function describeValue(path: string, value: unknown): string {
  if (value === null || value === undefined) return '-'
  if (SECRET_PATHS.has(path) && !MASKED_IN_PART.has(path)) return '***'
  if (typeof value === 'function') return 'a function'
  if (path === 'schema') return describeSchema(value as { file: string | null })
  if (typeof value === 'string') return maskSecrets(value)
  return maskSecrets(JSON.stringify(value, maskNested))
}

function describeSchema({ file }: { file: string | null }): string {
  return file ?? 'in the configuration'
}

/** Keys inside of values that are printed as a whole, such as the entries of `auth.jwt.keys`. */
function maskNested(key: string, value: unknown): unknown {
  if (typeof value === 'function') return 'a function'
  return /^(jwk|pem|secret|token|password)$/i.test(key) ? '***' : value
}

function valueAt(values: unknown, path: string): unknown {
  let value = values
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as { readonly [key: string]: unknown })[name]
  }
  return value
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
      return 'from the schema'
    case 'default':
      return 'default'
    default:
      return assertNever(origin)
  }
}
