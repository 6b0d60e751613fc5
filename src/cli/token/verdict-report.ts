import type { GivenScopes } from '../../auth/provider.ts'
import type { AuthVerdict } from '../../auth/token-verdict.ts'
import { formatElapsed } from '../output/format.ts'

/**
 * Describes how the server treats a token, as lines of text.
 *
 * @param collections every collection of the schema; null without a schema
 */
export function describeVerdict(
  verdict: AuthVerdict,
  collections: readonly string[] | null,
  nowMs: number,
): string[] {
  if (!verdict.isAccepted) return [`refused   ${verdict.message} (${verdict.reason})`]
  const { context, degradedBy } = verdict
  return [
    degradedBy === undefined
      ? 'accepted'
      : `accepted  as an anonymous client only: ${degradedBy.message} (${degradedBy.reason})`,
    `user      ${context.userId}`,
    ...(context.deviceId === undefined ? [] : [`device    ${context.deviceId}`]),
    ...(context.expiresAt === undefined ? [] : [`expires   ${describeExpiry(context.expiresAt, nowMs)}`]),
    ...describeScopes(context.scopes, collections),
  ]
}

function describeExpiry(expiresAtMs: number, nowMs: number): string {
  const date = new Date(expiresAtMs)
  if (Number.isNaN(date.getTime())) return 'beyond every calendar'
  return `${date.toISOString()} (in ${formatElapsed(expiresAtMs - nowMs)})`
}

function describeScopes(scopes: GivenScopes | undefined, collections: readonly string[] | null): string[] {
  if (scopes === undefined) return ['scopes    everything: no scopes are configured']
  const granted = Object.entries(scopes).map(([name, filter]) => `${name}: ${describeFilter(filter)}`)
  const hidden = (collections ?? []).filter((name) => !Object.hasOwn(scopes, name))
  const lines = [
    ...(granted.length === 0 ? ['nothing'] : granted),
    ...(hidden.length === 0 ? [] : [`hidden: ${hidden.join(', ')}`]),
  ]
  return lines.map((line, index) => `${index === 0 ? 'scopes' : '      '}    ${line}`)
}

function describeFilter(filter: GivenScopes[string]): string {
  const conditions = Object.entries(filter).map(([field, value]) => `${field} = ${JSON.stringify(value)}`)
  return conditions.length === 0 ? 'all records' : conditions.join(' and ')
}
