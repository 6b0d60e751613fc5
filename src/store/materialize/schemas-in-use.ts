import { memoizeLast } from '../../core/memoize-last.ts'
import { schemaFingerprint } from '../../core/schema/fingerprint.ts'
import { withResolversOf } from '../../core/schema/resolvers.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { withEarlierFields } from './earlier-fields.ts'
import { parseStoredSchema } from './stored-schema.ts'

/** As `_kora_meta` holds it. */
export interface StoredSchema {
  /** null: there are no tables */
  readonly text: string | null
  readonly fingerprint: string | null
}

export interface InUse {
  /** This process's own, with what is remembered of the others that the store has had; null: it has none. */
  readonly own: SchemaDefinition | null
  /**
   * The schema that the tables are for: our own, or that of another process, with those of our resolvers that
   * it was made with too.
   */
  readonly inForce: SchemaDefinition | null
}

/**
 * The schemas that a process works with. Other processes change what is stored, and change it back: what devices of
 * their versions have columns for is then known here too. What is read again unchanged gives the same objects, by
 * which rules and tables are kept.
 */
export class SchemasInUse {
  readonly #parse = memoizeLast(parseStoredSchema)
  #last: (StoredSchema & { readonly inUse: InUse }) | null = null

  /**
   * @param own this process's, as it was given or as `read` has returned it: its resolvers are functions, which the
   *   database cannot hold
   * @throws as `parseStoredSchema`
   */
  read({ text, fingerprint }: StoredSchema, own: SchemaDefinition | null): InUse {
    const last = this.#last
    if (last?.text === text && last.fingerprint === fingerprint && last.inUse.own === own) return last.inUse
    const inUse = text === null ? { own, inForce: null } : this.#readText(text, fingerprint, own)
    this.#last = { text, fingerprint, inUse }
    return inUse
  }

  #readText(text: string, fingerprint: string | null, own: SchemaDefinition | null): InUse {
    if (own === null) return { own, inForce: this.#parse(text) }
    if (schemaFingerprint(own) === fingerprint) {
      const remembering = this.#readMemory(text, own)
      return { own: remembering, inForce: remembering }
    }
    const stored = this.#parse(text)
    return { own: withEarlierFields(own, stored), inForce: withResolversOf(own, stored) }
  }

  /** Our own schema is stored. Damage of the text, or a newer release's way to write it, is no reason to end here. */
  #readMemory(text: string, own: SchemaDefinition): SchemaDefinition {
    let stored: SchemaDefinition
    try {
      stored = this.#parse(text)
    } catch {
      return own // whoever opens the store is told
    }
    return withEarlierFields(own, stored)
  }
}
