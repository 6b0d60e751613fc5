import type { ScopeChanges } from '../../core/view.ts'
import { parseScopeChanges } from '../append/scope-changes.ts'

const MAX_CACHED_SCOPES = 5000
const MAX_CACHED_SCOPE_LENGTH = 512 // because a client may fill scope fields with as much as an operation may hold

/**
 * Parsed scope texts of log rows. Most operations of a user have the same text; parsing it each time would cost as
 * much as reading the row.
 */
export class ScopeCache {
  readonly #changesByText = new Map<string, ScopeChanges>()

  parse(text: string | null): ScopeChanges {
    if (text === null || text.length > MAX_CACHED_SCOPE_LENGTH) return parseScopeChanges(text)
    const known = this.#changesByText.get(text)
    if (known !== undefined) return known
    if (this.#changesByText.size >= MAX_CACHED_SCOPES) this.#changesByText.clear()
    const parsed = parseScopeChanges(text)
    this.#changesByText.set(copyOf(text), parsed)
    return parsed
  }
}

/** Copies a text: a part of a text keeps all of it in memory, which may be a row of the largest size. */
function copyOf(text: string): string {
  return Buffer.from(text).toString()
}
