import { type Refusal, refuse } from '../../core/refusal.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import type { PlannedRecord } from '../append/batch-overlay.ts'
import type { Loading } from '../append/load.ts'
import { type IncomingRelation, rulesOf } from './integrity-rules.ts'
import { GROWTH, type LiveRecords } from './live-records.ts'

/** A record that a deletion changes. */
export interface AffectedRecord {
  readonly record: PlannedRecord
  readonly relation: IncomingRelation
  /** The deleted record that it refers to. */
  readonly target: PlannedRecord
}

/**
 * Most records that one deletion may change beside its own: they are written in one transaction, which all other
 * writers wait for.
 */
export const MAX_AFFECTED_RECORDS = 10_000

/**
 * Side effects above which a transaction takes up no more operations, so that a batch of large deletions does not
 * become one endless transaction.
 */
export const MAX_SIDE_EFFECTS = MAX_AFFECTED_RECORDS

/** Longest chain of cascading deletions: each link costs one more request to the store. */
export const MAX_CASCADE_DEPTH = 1000

/**
 * Finds the effects of deleting records on those that refer to them, and so on. It goes level by level, each in the
 * order of relation names and record ids, so that the same deletion always has the same effects.
 *
 * @returns the refusal, when a relation restricts one of the deletions, or there are too many effects
 */
export function* findAffected(
  roots: readonly PlannedRecord[],
  live: LiveRecords,
  schema: SchemaDefinition,
): Loading<readonly AffectedRecord[] | Refusal> {
  const cascade = new Cascade(roots)
  let level = roots
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_CASCADE_DEPTH) return refuseTooMany(roots)
    const references = yield* findReferences(level, live, schema)
    if (references === null) return refuseTooMany(roots)
    const next = cascade.follow(references)
    if ('code' in next) return next
    level = next
  }
  return cascade.affected
}

/** The effects of deleting records that have been found so far. */
class Cascade {
  readonly #roots: readonly PlannedRecord[]
  readonly #asked: ReadonlySet<PlannedRecord>
  readonly #deleted: Set<PlannedRecord>
  readonly #cleared = new Set<string>()
  readonly #found: AffectedRecord[] = []

  constructor(roots: readonly PlannedRecord[]) {
    this.#roots = roots
    this.#asked = new Set(roots)
    this.#deleted = new Set(roots)
  }

  /** Without the fields to clear in records that are deleted in the end. */
  get affected(): AffectedRecord[] {
    return this.#found.filter(
      ({ record, relation }) => relation.onDelete === 'cascade' || !this.#deleted.has(record),
    )
  }

  /** @returns the records that are deleted because of these references, or the refusal */
  follow(references: readonly AffectedRecord[]): PlannedRecord[] | Refusal {
    const next: PlannedRecord[] = []
    for (const reference of references) {
      const { record, relation } = reference
      if (this.#asked.has(record)) continue // deleted in any case
      if (relation.onDelete === 'restrict') return refuseRestricted(reference)
      if (!this.#note(reference)) continue
      if (relation.onDelete === 'cascade') next.push(record)
      if (this.#found.length > MAX_AFFECTED_RECORDS) return refuseTooMany(this.#roots)
    }
    return next
  }

  /** @returns false where the record is already deleted, or its field cleared */
  #note(reference: AffectedRecord): boolean {
    const { record, relation } = reference
    if (relation.onDelete === 'cascade') {
      if (this.#deleted.has(record)) return false
      this.#deleted.add(record)
    } else {
      const place = JSON.stringify([relation.from, record.recordId, relation.field])
      if (this.#cleared.has(place)) return false
      this.#cleared.add(place)
    }
    this.#found.push(reference)
    return true
  }
}

/** The records that refer to those of one level; null when there are more than may be changed. */
function* findReferences(
  targets: readonly PlannedRecord[],
  live: LiveRecords,
  schema: SchemaDefinition,
): Loading<AffectedRecord[] | null> {
  const questions = targets.flatMap((target) =>
    (rulesOf(schema, target.collection)?.incoming ?? []).map((relation) => ({ relation, target })),
  )
  const most = MAX_AFFECTED_RECORDS + 1
  // Few of each at first, because many targets with many references each must not all be read before they are
  // counted.
  const share = Math.ceil(most / Math.max(1, questions.length))
  let open = questions
  for (let factor = 1; open.length > 0; factor *= GROWTH) {
    for (const { relation, target } of open) {
      const count = relation.onDelete === 'restrict' ? 1 : share // one reference is enough
      live.want(relation.index, [target.recordId], count * factor)
    }
    yield* live.fetch()
    let found = 0
    open = []
    for (const question of questions) {
      const { records, isComplete } = live.known(question.relation.index, [question.target.recordId])
      found += records.length
      const isDecided = isComplete || (question.relation.onDelete === 'restrict' && records.length > 0)
      if (!isDecided) open.push(question)
    }
    if (found > most && open.length > 0) return null
  }
  return questions
    .flatMap(({ relation, target }) =>
      live.known(relation.index, [target.recordId]).records.map((record) => ({ record, relation, target })),
    )
    .sort(byRelationAndRecord)
}

function byRelationAndRecord(a: AffectedRecord, b: AffectedRecord): number {
  if (a.relation.name !== b.relation.name) return a.relation.name < b.relation.name ? -1 : 1
  if (a.record.recordId === b.record.recordId) return 0
  return a.record.recordId < b.record.recordId ? -1 : 1
}

/** Names the collections and the relation, but no record, because the author may not see it. */
function refuseRestricted({ relation, target }: AffectedRecord): Refusal {
  const { name, from, field } = relation
  return refuse(
    'REFERENTIAL_INTEGRITY',
    `Relation ${name} restricts the deletion: records of ${from} refer by ${field} to the record of ` +
      `${target.collection} that would be deleted.`,
  )
}

function refuseTooMany([root]: readonly PlannedRecord[]): Refusal {
  return refuse(
    'REFERENTIAL_INTEGRITY',
    `Deleting record ${root?.recordId} of ${root?.collection} would change more than ` +
      `${MAX_AFFECTED_RECORDS.toLocaleString('en')} other records at once, or follow a chain of more than ` +
      `${MAX_CASCADE_DEPTH.toLocaleString('en')}. Delete some of them first.`,
  )
}
