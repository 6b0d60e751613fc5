import type { AtomicOp, FieldValues, JsonValue } from '../../../src/core/operation.ts'
import { type FieldBuilders, t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import type { Random } from './random.ts'

export const TENANTS = ['north', 'south'] as const
export type Tenant = (typeof TENANTS)[number]
/** Everybody in this collection belongs to a tenant; what stands in the other one is for all who are not limited. */
export const TENANT_COLLECTION = 'tasks'
export const COLLECTIONS = ['tasks', 'notes'] as const

/**
 * A change of one field, as an application makes it. Only such changes are made on which clients
 * agree whatever the order in which they hear of them: docs/protocol.md, "Merging", names the others.
 */
export interface FieldChange {
  readonly value?: JsonValue
  readonly atomic?: AtomicOp
}

type ChangeField = (random: Random, current: JsonValue | undefined, author: string) => FieldChange

const WORDS = ['milk', 'bread', 'ünï', '', 'a "quoted" one', 'x'.repeat(40), '💡'] as const

interface AppField {
  readonly build: () => FieldBuilders[string]
  readonly change: ChangeField
  /** How clients merge it; absent: the later write wins. */
  readonly merges?: 'atomic' | 'content' | 'text'
}

const FIELDS: { readonly [field: string]: AppField } = {
  done: { build: () => t.boolean().default(false), change: (random) => ({ value: random.chance(0.5) }) },
  count: {
    merges: 'atomic',
    build: () => t.number().default(0),
    change: (random) => ({ atomic: { type: 'increment', value: random.integer(-3, 3) } }),
  },
  best: {
    merges: 'atomic',
    build: () => t.number().optional(),
    change: (random) => ({ atomic: { type: 'max', value: random.integer(0, 100) } }),
  },
  likes: {
    build: () => t.number().merge('counter').default(0),
    change: (random) => ({ value: random.integer(0, 9) }),
  },
  tags: {
    merges: 'content',
    build: () => t.array(t.string()).default([]),
    change: (random, current) => ({
      value: [...(Array.isArray(current) ? current : []), `t${random.integer(0, 1e6)}`],
    }),
  },
  log: {
    merges: 'content',
    build: () => t.array(t.string()).merge('append-only').default([]),
    change: (random, current, author) => ({
      value: [...(Array.isArray(current) ? current : []), `${author} ${random.integer(0, 1e6)}`],
    }),
  },
  body: {
    merges: 'text',
    build: () => t.richtext().optional(),
    change: (random) => ({ value: random.pick(WORDS) }),
  },
  note: {
    build: () => t.string().optional(),
    change: (random) => ({ value: random.chance(0.2) ? null : random.pick(WORDS) }),
  },
  status: {
    build: () => t.enum(['open', 'doing', 'done']).default('open'),
    change: (random) => ({ value: random.pick(['open', 'doing', 'done']) }),
  },
  dueAt: { build: () => t.timestamp().optional(), change: (random) => ({ value: random.integer(0, 2e12) }) },
}

/** One app of many: some of the kinds of fields that there are, the same in both collections. */
export function randomApp(random: Random): App {
  const fields = random.subset(Object.keys(FIELDS), 0.6)
  const isScopeDeclared = random.chance(0.5)
  const build = () => Object.fromEntries(fields.map((field) => [field, FIELDS[field]?.build() ?? t.string()]))
  const schema = defineSchema({
    version: 1,
    collections: {
      tasks: {
        fields: { title: t.string(), tenant: t.string(), ...build() },
        ...(isScopeDeclared ? { scope: ['tenant'] } : {}),
      },
      notes: { fields: { title: t.string(), ...build() } },
    },
  })
  return new App(schema, fields)
}

export class App {
  readonly schema: SchemaDefinition
  readonly fields: readonly string[]

  constructor(schema: SchemaDefinition, fields: readonly string[]) {
    this.schema = schema
    this.fields = fields
  }

  /**
   * A later version: another optional field or index, and scopes that are declared or no longer so.
   * Devices stay at theirs, so nothing is written into what they do not know.
   */
  nextSchema(random: Random, { version, collections }: SchemaDefinition): SchemaDefinition {
    const known = collections[TENANT_COLLECTION]
    const isScopeDeclared = random.chance(0.5)
    const added = Object.keys(known?.fields ?? {}).filter((field) => field.startsWith('added'))
    const extra = [...added, ...(random.chance(0.6) ? [`added${version}`] : [])]
    const build = () => ({
      ...Object.fromEntries(this.fields.map((field) => [field, FIELDS[field]?.build() ?? t.string()])),
      ...Object.fromEntries(extra.map((field) => [field, t.string().optional()])),
    })
    const indexes = random.subset(['title', ...extra], 0.5)
    return defineSchema({
      version: version + 1,
      collections: {
        tasks: {
          fields: { title: t.string(), tenant: t.string(), ...build() },
          indexes,
          ...(isScopeDeclared ? { scope: ['tenant'] } : {}),
        },
        notes: { fields: { title: t.string(), ...build() }, indexes },
      },
    })
  }

  /** What a client adds to a new record by itself, and who writes through the server has to. */
  defaults(): FieldValues {
    const fields = Object.entries(this.schema.collections[TENANT_COLLECTION]?.fields ?? {})
    return Object.fromEntries(
      fields.flatMap(([name, { defaultValue }]) =>
        defaultValue === undefined ? [] : [[name, defaultValue]],
      ),
    )
  }

  newRecord(random: Random, collection: string, tenant: Tenant, author: string): FieldValues {
    const values: Record<string, JsonValue> = { title: random.pick(WORDS) }
    if (collection === TENANT_COLLECTION) values.tenant = tenant
    for (const field of random.subset(this.fields, 0.4)) {
      const { value } = FIELDS[field]?.change(random, undefined, author) ?? {}
      if (value !== undefined && value !== null) values[field] = value
    }
    return values
  }

  /** A list, of which clients merge what is added at once. */
  isMergedByContent(field: string): boolean {
    return FIELDS[field]?.merges === 'content'
  }

  /**
   * An update as an application makes it, of fields that do not disturb one another: where a client
   * merges one field of an operation by content, it judges the others by the time of its own last
   * operation on the record, and two clients may then disagree for good.
   *
   * @param isCreator texts are edited by their author: of two strings clients keep one by the same time
   */
  changes(
    random: Random,
    record: { readonly [field: string]: unknown },
    { author, isCreator }: { author: string; isCreator: boolean },
  ): { values: FieldValues; atomics: { [field: string]: AtomicOp } } {
    const kinds = {
      plain: ['title', ...this.fields.filter((field) => FIELDS[field]?.merges === undefined)],
      atomic: this.fields.filter((field) => FIELDS[field]?.merges === 'atomic'),
      content: this.fields.filter((field) => FIELDS[field]?.merges === 'content'),
      text: isCreator ? this.fields.filter((field) => FIELDS[field]?.merges === 'text') : [],
    }
    const kind = random.weighted({ plain: 4, atomic: 2, content: 2, text: 1 })
    const candidates = kinds[kind].length > 0 ? kinds[kind] : kinds.plain
    const chosen = kind === 'content' ? [random.pick(candidates)] : random.subset(candidates, 0.4)
    const values: Record<string, JsonValue> = {}
    const atomics: { [field: string]: AtomicOp } = {}
    for (const field of chosen.length > 0 ? chosen : [random.pick(candidates)]) {
      const current = record[field] as JsonValue | undefined // what a device shows came as JSON
      const change =
        field === 'title' ? { value: random.pick(WORDS) } : FIELDS[field]?.change(random, current, author)
      if (change?.atomic !== undefined) atomics[field] = change.atomic
      // Clients send the changed fields only.
      else if (JSON.stringify(change?.value ?? null) !== JSON.stringify(current ?? null)) {
        values[field] = change?.value ?? null
      }
    }
    return { values, atomics }
  }
}
