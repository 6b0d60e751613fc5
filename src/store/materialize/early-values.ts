import type { Operation } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import { compileRules, type FieldRules } from '../../core/schema/field-rules.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { findMisfits } from '../../core/schema/validate-operation.ts'
import { operationOfWireJson } from '../../protocol/wire-identity.ts'
import { isCorrupt } from '../damage/corrupt.ts'
import type { LoggedOperation, OperationFilter, OperationPage, OperationSearch } from '../operation-search.ts'

/** Values of a field that were written before the schema had it, and do not fit it. */
export interface EarlyValues {
  readonly collection: string
  readonly field: string
  /** The valid values of the schema: "a string", "a string (required)". */
  readonly expectation: string
  /** Number of operations in the log that do not fit. */
  readonly operations: number
}

/** A search through the operations of one collection. */
interface Search {
  readonly collection: string
  /** Rules of its new fields. */
  readonly rules: FieldRules
  /** Texts of which every misfit has one in its JSON; null: a misfit may have any JSON. */
  readonly marks: readonly string[] | null
}

/** Number of misfits by field. */
type FieldCounts = Map<string, number>

type ReadLog = Pick<OperationSearch, 'readOperations'>

// As large as the rows of one step may be; in PostgreSQL each page also costs a look-ahead in the log.
const PAGE = { limit: 10_000, maxBytes: 8 * 1024 * 1024 }

/**
 * Finds stored values that a changed schema has no room for: the log accepts any value of a collection or a field
 * that the schema lacks. A device that syncs for the first time creates its table by the new schema, and stops at
 * such an operation, whatever was written to its record later.
 *
 * Reads the operations of collections with new fields, page by page; none if no collection has any, or nothing was
 * written to them. Ends at a damaged row, which `check --deep` reports.
 *
 * @param earlier null: there was none, so everything is new
 * @returns one entry for each field with misfits, in the order of the schema
 * @see docs/schema.md, "A changed schema"
 */
export async function findEarlyValues(
  log: ReadLog,
  earlier: SchemaDefinition | null,
  later: SchemaDefinition,
): Promise<readonly EarlyValues[]> {
  const searches = await withOperations(log, searchesFor(earlier, later))
  const counted = searches.map((search) => ({ search, counts: new Map<string, number>() }))
  for await (const page of pagesOf(log, searches)) {
    for (const { search, counts } of counted) count(page, search, counts)
  }
  return counted.flatMap(({ search, counts }) => toEarlyValues(search, counts))
}

function searchesFor(earlier: SchemaDefinition | null, later: SchemaDefinition): Search[] {
  return Object.keys(later.collections).flatMap((collection): Search[] => {
    const rules = compileRules(later, collection)
    const before = ownValue(earlier?.collections ?? {}, collection)?.fields
    if (before === undefined) return [{ collection, rules, marks: null }]
    const fields = new Map([...rules.fields].filter(([field]) => !Object.hasOwn(before, field)))
    if (fields.size === 0) return []
    const marks = [...fields.keys()].map((field) => `"${field}":`)
    // `neededSince` reports operations that lack a newly required field.
    return [{ collection, rules: { fields, neededFields: [] }, marks }]
  })
}

/** Only the searches in collections with operations, because a new one mostly has none. */
async function withOperations(log: ReadLog, searches: readonly Search[]): Promise<readonly Search[]> {
  const found: Search[] = []
  for (const search of searches) {
    const { collection } = search
    const [first] = await readPage(log, { collection }, { after: 0, limit: 1, maxBytes: 1 })
    if (first !== undefined) found.push(search)
  }
  return found
}

/** Reads the one collection, or the whole log, page by page: each such walk goes through all of it. */
async function* pagesOf(
  log: ReadLog,
  searches: readonly Search[],
): AsyncGenerator<readonly LoggedOperation[]> {
  const [search, ...others] = searches
  if (search === undefined) return
  const filter = others.length === 0 ? { collection: search.collection } : {}
  for (let after = 0; ; ) {
    const page = await readPage(log, filter, { after, ...PAGE })
    const last = page.at(-1)
    if (last === undefined) return
    yield page
    after = last.deliverySequence
    await new Promise((resolve) => setImmediate(resolve)) // lets a start be interrupted
  }
}

/** Empty where a row is damaged, which must not keep a server from starting that need not read it. */
async function readPage(
  log: ReadLog,
  filter: OperationFilter,
  page: OperationPage,
): Promise<readonly LoggedOperation[]> {
  try {
    return await log.readOperations(filter, page)
  } catch (error) {
    if (isCorrupt(error)) return []
    throw error
  }
}

function count(
  page: readonly LoggedOperation[],
  { collection, rules, marks }: Search,
  counts: FieldCounts,
): void {
  const ofCollection = `"collection":${JSON.stringify(collection)}`
  for (const { wireJson } of page) {
    // Most contain nothing new, and need not be parsed.
    if (!wireJson.includes(ofCollection)) continue
    if (marks !== null && !marks.some((mark) => wireJson.includes(mark))) continue
    const operation = parseReadable(wireJson)
    if (operation?.collection !== collection) continue
    for (const field of findMisfits(operation, rules)) counts.set(field, (counts.get(field) ?? 0) + 1)
  }
}

/** null: damage that nothing else has reported. */
function parseReadable(wireJson: string): Operation | null {
  try {
    return operationOfWireJson(wireJson)
  } catch {
    return null
  }
}

function toEarlyValues({ collection, rules }: Search, counts: FieldCounts): EarlyValues[] {
  return [...rules.fields].flatMap(([field, { expectation, isNeeded }]) => {
    const operations = counts.get(field) ?? 0
    if (operations === 0) return []
    return [
      { collection, field, expectation: isNeeded ? `${expectation} (required)` : expectation, operations },
    ]
  })
}
