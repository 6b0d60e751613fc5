import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import type {
  CollectionsAnswer,
  RecordsPage,
  ShownCollection,
  ShownField,
  ShownRecord,
} from '../../http/dashboard/api-types.ts'
import { parseFilterValue } from '../filter-value.ts'
import { formatCount } from '../format.ts'
import { Pager } from '../parts/pager.tsx'
import { Empty, PageTitle, Problem, Waiting } from '../parts/states.tsx'
import { Id, Text, Time, Value } from '../parts/values.tsx'
import { href, navigate } from '../route.ts'
import { useAnswer } from '../use-answer.ts'

const PAGE_SIZE = 50
const REFRESH_MS = 5000
const RECORD_FIELDS: readonly ShownField[] = [
  { name: 'id', kind: 'string', enumValues: null, isIndexed: true, isSecret: false },
  { name: '_created_at', kind: 'timestamp', enumValues: null, isIndexed: false, isSecret: false },
  { name: '_updated_at', kind: 'timestamp', enumValues: null, isIndexed: false, isSecret: false },
]

export function CollectionsView(): JSX.Element {
  const loaded = useAnswer<CollectionsAnswer>('collections', {}, REFRESH_MS)
  const { answer } = loaded
  return (
    <>
      <PageTitle title="Records" />
      <Problem loaded={loaded} />
      <Waiting loaded={loaded} />
      {answer !== null && !answer.hasSchema && (
        <Empty title="The store has no schema">
          Clients sync without one, but only a schema tells which records there are. Start the server with{' '}
          <code>--schema</code>.
        </Empty>
      )}
      {answer?.hasSchema && answer.collections.length === 0 && (
        <Empty title="The schema has no collections" />
      )}
      {answer !== null && answer.collections.length > 0 && (
        <CollectionTable collections={answer.collections} />
      )}
    </>
  )
}

function CollectionTable({ collections }: { collections: readonly ShownCollection[] }): JSX.Element {
  return (
    <table class="cards">
      <thead>
        <tr>
          <th>Collection</th>
          <th class="number">Records</th>
          <th>Fields</th>
        </tr>
      </thead>
      <tbody>
        {collections.map(({ name, records, fields }) => (
          <tr key={name}>
            <td data-label="Collection">
              <a href={href(['records', name])}>
                <Text text={name} />
              </a>
            </td>
            <td class="number" data-label="Records">
              {formatCount(records)}
            </td>
            <td data-label="Fields">
              <span class="quiet">{fields.map((field) => field.name).join(', ')}</span>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}

interface RecordsQuestion {
  readonly field: string
  readonly value: string
  readonly orderBy: string
  readonly direction: 'asc' | 'desc'
  readonly deleted: 'yes' | 'no'
  readonly offset: number
}

/** The records of one collection. */
export function RecordsView({
  name,
  parameters,
}: {
  name: string
  parameters: URLSearchParams
}): JSX.Element {
  const collections = useAnswer<CollectionsAnswer>('collections', {})
  const collection = collections.answer?.collections.find((candidate) => candidate.name === name)
  if (collections.answer === null || collection === undefined) {
    return (
      <>
        <CollectionTitle name={name} />
        <Problem loaded={collections} />
        <Waiting loaded={collections} />
        {collections.answer !== null && (
          <Empty title="There is no such collection">
            <a href="#/records">To the collections there are</a>
          </Empty>
        )}
      </>
    )
  }
  return <CollectionView collection={collection} question={questionOf(parameters)} />
}

function questionOf(parameters: URLSearchParams): RecordsQuestion {
  return {
    field: parameters.get('field') ?? '',
    value: parameters.get('value') ?? '',
    orderBy: parameters.get('orderBy') ?? 'id',
    direction: parameters.get('direction') === 'desc' ? 'desc' : 'asc',
    deleted: parameters.get('deleted') === 'yes' ? 'yes' : 'no',
    offset: Number(parameters.get('offset') ?? 0) || 0,
  }
}

function CollectionView({
  collection,
  question,
}: {
  collection: ShownCollection
  question: RecordsQuestion
}): JSX.Element {
  const { name } = collection
  const fields = [...RECORD_FIELDS, ...collection.fields.filter((field) => !field.isSecret)]
  const filterField = fields.find((field) => field.name === question.field)
  const filter = filterField === undefined ? null : parseFilterValue(filterField.kind, question.value)
  const where = filterField !== undefined && filter?.ok ? { [filterField.name]: filter.value } : {}
  const { orderBy, direction, deleted, offset } = question
  const loaded = useAnswer<RecordsPage>('records', {
    collection: name,
    where: JSON.stringify(where),
    orderBy,
    direction,
    deleted,
    offset,
    limit: PAGE_SIZE,
  })
  const ask = (change: Partial<RecordsQuestion>): void => {
    const { offset: nextOffset, ...rest } = { ...question, offset: 0, ...change }
    navigate(href(['records', name], { ...rest, offset: String(nextOffset) }))
  }
  const isFiltered = Object.keys(where).length > 0
  const { answer } = loaded
  return (
    <>
      <CollectionTitle name={name}>
        <span class="quiet">{formatCount(collection.records)} records</span>
        <button type="button" onClick={loaded.reload}>
          Refresh
        </button>
      </CollectionTitle>
      <Filters key={`${question.field} ${question.value}`} fields={fields} question={question} onAsk={ask} />
      {filter !== null && !filter.ok && (
        <p class="problem" role="alert">
          {filter.problem}
        </p>
      )}
      <Problem loaded={loaded} />
      <Waiting loaded={loaded} />
      {answer !== null && loaded.error === null && answer.records.length === 0 && (
        <Empty title={isFiltered ? 'No record matches' : 'No records here'}>
          {isFiltered ? 'Filters compare exactly.' : 'Records that devices write show up here.'}
        </Empty>
      )}
      {answer !== null && loaded.error === null && answer.records.length > 0 && (
        <RecordTable collection={collection} page={answer} question={question} onAsk={ask} />
      )}
      {answer !== null && loaded.error === null && (
        <Pager
          offset={answer.offset}
          shown={answer.records.length}
          total={isFiltered || deleted === 'yes' ? null : collection.records}
          hasMore={answer.hasMore}
          pageSize={PAGE_SIZE}
          onTurn={(next) => ask({ offset: next })}
        />
      )}
    </>
  )
}

function CollectionTitle({
  name,
  children,
}: {
  name: string
  children?: preact.ComponentChildren
}): JSX.Element {
  return (
    <PageTitle
      title={
        <>
          <a href="#/records">Records</a> <span class="quiet">/</span> <Text text={name} />
        </>
      }
    >
      {children}
    </PageTitle>
  )
}

interface FiltersProperties {
  readonly fields: readonly ShownField[]
  readonly question: RecordsQuestion
  readonly onAsk: (change: Partial<RecordsQuestion>) => void
}

function Filters({ fields, question, onAsk }: FiltersProperties): JSX.Element {
  const [field, setField] = useState(question.field)
  const [value, setValue] = useState(question.value)
  const submit = (event: Event): void => {
    event.preventDefault()
    onAsk({ field, value })
  }
  return (
    <form class="filters" onSubmit={submit}>
      <label>
        Filter
        <select
          value={field}
          onChange={(event) => {
            setField(event.currentTarget.value)
            if (event.currentTarget.value === '') onAsk({ field: '', value: '' })
          }}
        >
          <option value="">all records</option>
          {fields.map(({ name, isIndexed }) => (
            <option key={name} value={name}>
              {isIndexed ? name : `${name} (no index)`}
            </option>
          ))}
        </select>
      </label>
      <label class="grow">
        is
        <input
          type="text"
          value={value}
          disabled={field === ''}
          placeholder={field === '' ? '' : 'Value; empty for records without one'}
          maxLength={1000}
          onInput={(event) => setValue(event.currentTarget.value)}
        />
      </label>
      <button type="submit" disabled={field === ''}>
        Apply
      </button>
      <label class="check">
        <input
          type="checkbox"
          checked={question.deleted === 'yes'}
          onChange={(event) => onAsk({ deleted: event.currentTarget.checked ? 'yes' : 'no' })}
        />
        Deleted too
      </label>
    </form>
  )
}

interface RecordTableProperties {
  readonly collection: ShownCollection
  readonly page: RecordsPage
  readonly question: RecordsQuestion
  readonly onAsk: (change: Partial<RecordsQuestion>) => void
}

function RecordTable({ collection, page, question, onAsk }: RecordTableProperties): JSX.Element {
  const columns: readonly { name: string; isSecret: boolean }[] = [
    { name: 'id', isSecret: false },
    ...collection.fields,
    { name: '_updated_at', isSecret: false },
  ]
  return (
    <section class="scroll" aria-label="Records">
      <table class="records">
        <thead>
          <tr>
            {columns.map(({ name, isSecret }) => (
              <th key={name} aria-sort={sortOf(name, question)}>
                {isSecret ? (
                  name
                ) : (
                  <button type="button" class="order" onClick={() => onAsk(nextOrder(name, question))}>
                    {name === '_updated_at' ? 'updated' : name}
                    <span aria-hidden="true">{arrowOf(name, question)}</span>
                  </button>
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {page.records.map((record) => (
            <RecordRow key={record.id} collection={collection} record={record} />
          ))}
        </tbody>
      </table>
    </section>
  )
}

function RecordRow({
  collection,
  record,
}: {
  collection: ShownCollection
  record: ShownRecord
}): JSX.Element {
  return (
    <tr class={record.isDeleted ? 'deleted' : undefined}>
      <td>
        <a href={href(['records', collection.name, record.id])}>
          <Id id={record.id} />
        </a>
        {record.isDeleted && <span class="tag">deleted</span>}
      </td>
      {collection.fields.map(({ name }) => (
        <td key={name}>
          <Value value={Object.hasOwn(record.values, name) ? record.values[name] : undefined} />
        </td>
      ))}
      <td>
        <Time at={record.updatedAt} />
      </td>
    </tr>
  )
}

function nextOrder(name: string, { orderBy, direction }: RecordsQuestion): Partial<RecordsQuestion> {
  return { orderBy: name, direction: orderBy === name && direction === 'asc' ? 'desc' : 'asc' }
}

function sortOf(
  name: string,
  { orderBy, direction }: RecordsQuestion,
): 'ascending' | 'descending' | undefined {
  if (orderBy !== name) return undefined
  return direction === 'asc' ? 'ascending' : 'descending'
}

function arrowOf(name: string, { orderBy, direction }: RecordsQuestion): string {
  if (orderBy !== name) return ''
  return direction === 'asc' ? ' ↑' : ' ↓'
}
