import { createHash } from 'node:crypto'
import type { FieldValues, JsonValue } from '../../src/core/operation.ts'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'

const TEXT = 'canary-7f3a-of-tenant-a'
const NUMBER = 7_391_846_205_113

/** Both tenants share the field by which their views are looked up first: the second one tells them apart. */
export const OF_A = { region: 'eu', tenant: 'a' } as const
export const OF_B = { region: 'eu', tenant: 'b' } as const
/** What the first tenant's users are called, and its devices but for one. */
export const CANARY_NAME = TEXT
/** The content of the first tenant's blob. */
export const CANARY_BYTES = Buffer.from(`${TEXT} in a blob`)
/** Names a blob that nobody else has heard of. */
export const CANARY_HASH = sha256(TEXT)

/** Two collections of two tenants, with a field of every kind and a rule of every kind. */
export const canarySchema = defineSchema({
  version: 1,
  collections: {
    todos: {
      fields: {
        region: t.string(),
        tenant: t.string(),
        title: t.string(),
        slug: t.string().optional(),
        room: t.string().optional(),
        noteId: t.string().optional(),
        pageId: t.string().optional(),
        stage: t
          .enum(['open', 'doing', 'done'])
          .transitions({ open: ['doing'], doing: ['done'] })
          .optional(),
        n: t.number().optional(),
        dueAt: t.timestamp().optional(),
        tags: t.array(t.string()).optional(),
        meta: t.json().optional(),
        place: t.object({ city: t.string() }).optional(),
        body: t.richtext().optional(),
        file: t.blob().optional(),
        pin: t.secret().optional(),
      },
      scope: ['region', 'tenant'],
      constraints: [
        { type: 'unique', fields: ['tenant', 'slug'], onConflict: 'first-write-wins' },
        { type: 'capacity', fields: ['tenant', 'room'], limit: 2, onConflict: 'first-write-wins' },
        {
          type: 'referential',
          fields: ['noteId'],
          where: { collection: 'notes' },
          onConflict: 'first-write-wins',
        },
      ],
    },
    notes: {
      fields: { region: t.string(), tenant: t.string(), title: t.string(), n: t.number().optional() },
      scope: ['region', 'tenant'],
    },
  },
  relations: {
    todoNote: { from: 'todos', to: 'notes', type: 'many-to-one', field: 'noteId', onDelete: 'restrict' },
    // Without a constraint: it may be there before what it refers to.
    todoPage: { from: 'todos', to: 'notes', type: 'many-to-one', field: 'pageId', onDelete: 'restrict' },
  },
})

/** A todo of the first tenant, with a canary in each field that can hold one. */
export function canaryTodo(index: number, noteId: string, blobHash: string): FieldValues {
  const text = `${TEXT}-${index}`
  return {
    ...OF_A,
    title: text,
    slug: text,
    room: text,
    noteId,
    stage: 'open',
    n: NUMBER,
    dueAt: NUMBER,
    tags: [text],
    meta: { [TEXT]: [text] },
    place: { city: text },
    body: text,
    file: { hash: blobHash, size: CANARY_BYTES.length, filename: text, manifestHash: CANARY_HASH },
    pin: `v1.${TEXT}.${CANARY_HASH}`,
  } satisfies { readonly [field: string]: JsonValue }
}

/** Of a todo that goes from one tenant to the other: all that it holds, so that nothing of what it held before is left. */
export function travellingTodo(tenant: typeof OF_A | typeof OF_B, round: number): FieldValues {
  const [text, number] = tenant === OF_A ? [`${TEXT}-gone-${round}`, NUMBER] : [`visits ${round}`, round]
  return {
    ...tenant,
    title: text,
    slug: text,
    n: number,
    dueAt: number,
    meta: { [text]: [text] },
    place: { city: text },
  } satisfies { readonly [field: string]: JsonValue }
}

export function canaryNote(index: number): FieldValues {
  return { ...OF_A, title: `${TEXT}-note-${index}`, n: NUMBER }
}

/** Finds canaries, and other secrets, in what was received. */
export class CanaryFinder {
  readonly #pattern: RegExp

  /** @param secrets what must not be met either, such as ids of records */
  constructor(secrets: readonly string[]) {
    const needles = [TEXT, String(NUMBER), CANARY_HASH, ...base64FormsOf(TEXT), ...secrets]
    this.#pattern = new RegExp(needles.map(escaped).join('|'))
  }

  /** @returns the texts that hold one */
  findIn(texts: readonly string[]): string[] {
    return texts.filter((text) => this.#pattern.test(text))
  }
}

function escaped(text: string): string {
  return text.replaceAll(/[^\w-]/g, '\\$&')
}

/** How a text looks in the base64 of something that holds it, wherever it begins there. */
function base64FormsOf(text: string): string[] {
  return [0, 1, 2].map((shift) => {
    const encoded = Buffer.from('x'.repeat(shift) + text).toString('base64')
    return encoded.slice(shift === 0 ? 0 : 4, -4) // what stands at the ends depends on the neighbours
  })
}

export function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}
