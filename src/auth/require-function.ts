import { ConfigError } from '../core/errors.ts'
import { describeValue } from '../protocol/json-value.ts'

/**
 * Refuses options without a function that an auth provider asks, as a program without types may give: the provider would
 * refuse every client, and nobody would know before the first one comes.
 *
 * @param paths where the function stands; one of them is enough
 * @throws ConfigError `CONFIG_INVALID`
 */
export function requireFunction(options: unknown, ...paths: readonly string[]): void {
  const found = paths.map((path) => valueAt(options, path))
  if (found.some((value) => typeof value === 'function')) return
  const given = found.find((value) => value !== undefined)
  const got = given === undefined ? '' : `, got ${describeValue(given)}`
  throw new ConfigError('CONFIG_INVALID', `${paths.join(' or ')}: expected a function${got}`)
}

function valueAt(options: unknown, path: string): unknown {
  return path.split('.').reduce((value, name) => propertyOf(value, name), options)
}

function propertyOf(value: unknown, name: string): unknown {
  return (value as { readonly [name: string]: unknown } | null | undefined)?.[name] // `?.` reads of anything
}
