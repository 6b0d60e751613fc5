import { memoizeLast } from '../../core/memoize-last.ts'
import { schemaFingerprint } from '../../core/schema/fingerprint.ts'
import { withResolversOf } from '../../core/schema/resolvers.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { withEarlierFields } from './earlier-fields.ts'
import { parseStoredSchema } from './stored-schema.ts'

/** The stored schema as `_kora_meta` has it. */
export interface StoredSchema {
  /** null: there are no tables */
  readonly text: string | null
  readonly fingerprint: string | null
}

export interface InUse {
  /** The schema of this process, with what is remembered of others that the store has had; null: it has none. */
  readonly own: SchemaDefinition | null
  /**
   * The schema that the tables follow: our own, or that of another process, together with those of our resolvers
   * that it was also made with.
   */
  readonly inForce: SchemaDefinition | null
}

/**
 * The schemas that a process works with. Other processes change the stored one, and back again; so which fields
 * devices of their versions have columns for is known here as well. Reading an unchanged schema again returns the
 * same objects, because rules and tables are cached by object.
 */
export class SchemasInUse {
  readonly #parse = memoizeLast(parseStoredSchema)
  #last: (StoredSchema & { readonly inUse: InUse }) | null = null

  /**
   * @param own schema of this process, as given or as `read` has returned it: its resolvers are functions, which
   *   the database cannot hold
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

  /**
   * Reads what is remembered where our own schema is stored. Damaged text, or that of a newer release, is not fatal
   * here.
   */
  #readMemory(text: string, own: SchemaDefinition): SchemaDefinition {
    let stored: SchemaDefinition
    try {
      stored = this.#parse(text)
    } catch {
      return own // opening the store reports it
    }
    return withEarlierFields(own, stored)
  }
}
