import type { JSX } from 'preact'
import type {
  CollectionsAnswer,
  RecordsPage,
  ShownCollection,
  ShownField,
} from '../../http/dashboard/api-types.ts'
import { parseFilterValue } from '../filter-value.ts'
import { formatQuantity } from '../format.ts'
import { Pager } from '../parts/pager.tsx'
import { Empty, PageTitle, Problem, Waiting } from '../parts/states.tsx'
import { Text } from '../parts/values.tsx'
import { href, navigate } from '../route.ts'
import { useAnswer } from '../use-answer.ts'
import { RecordFilters } from './record-filters.tsx'
import { RecordTable } from './record-table.tsx'
import { questionOf, type RecordsQuestion } from './records-question.ts'

const PAGE_SIZE = 50
const RECORD_FIELDS: readonly ShownField[] = [
  { name: 'id', kind: 'string', enumValues: null, isIndexed: true, isFilterable: true, isOrdered: true },
  {
    name: '_created_at',
    kind: 'timestamp',
    enumValues: null,
    isIndexed: false,
    isFilterable: true,
    isOrdered: true,
  },
  {
    name: '_updated_at',
    kind: 'timestamp',
    enumValues: null,
    isIndexed: false,
    isFilterable: true,
    isOrdered: true,
  },
]

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
            <a href="#/records">All collections</a>
          </Empty>
        )}
      </>
    )
  }
  return (
    <CollectionView
      collection={collection}
      question={questionOf(parameters)}
      onRecount={collections.reload}
    />
  )
}

function CollectionView({
  collection,
  question,
  onRecount,
}: {
  collection: ShownCollection
  question: RecordsQuestion
  /** Reads the numbers of records again, which would otherwise be older than the records below them. */
  onRecount: () => void
}): JSX.Element {
  const { name } = collection
  const fields = [...RECORD_FIELDS, ...collection.fields.filter(({ isFilterable }) => isFilterable)]
  const { where, problem } = filterOf(fields, question)
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
    onRecount()
    navigate(href(['records', name], { ...rest, offset: String(nextOffset) }))
  }
  const refresh = (): void => {
    onRecount()
    loaded.reload()
  }
  const isFiltered = Object.keys(where).length > 0
  const page = loaded.error === null ? loaded.answer : null
  return (
    <>
      <CollectionTitle name={name}>
        <span class="quiet">{formatQuantity(collection.records, 'record')}</span>
        <button type="button" onClick={refresh}>
          Refresh
        </button>
      </CollectionTitle>
      <RecordFilters
        key={`${question.field} ${question.value}`}
        fields={fields}
        question={question}
        onAsk={ask}
      />
      {problem !== null && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <Problem loaded={loaded} />
      <Waiting loaded={loaded} />
      {page !== null && <RecordsShown {...{ collection, question, page, isFiltered, onAsk: ask }} />}
    </>
  )
}

/** The filter to request; none while the typed value does not fit the field's kind. */
function filterOf(
  fields: readonly ShownField[],
  { field, value }: RecordsQuestion,
): { where: { [field: string]: unknown }; problem: string | null } {
  const filtered = fields.find(({ name }) => name === field)
  if (filtered === undefined) {
    return { where: {}, problem: field === '' ? null : `Records cannot be filtered by "${field}".` }
  }
  const filter = parseFilterValue(filtered.kind, value)
  return filter.ok
    ? { where: { [filtered.name]: filter.value }, problem: null }
    : { where: {}, problem: filter.problem }
}

function RecordsShown({
  collection,
  question,
  page,
  isFiltered,
  onAsk,
}: {
  collection: ShownCollection
  question: RecordsQuestion
  page: RecordsPage
  isFiltered: boolean
  onAsk: (change: Partial<RecordsQuestion>) => void
}): JSX.Element {
  return (
    <>
      {page.records.length === 0 ? (
        <Empty title={isFiltered ? 'No record matches' : 'No records here'}>
          {isFiltered ? 'Filters compare exactly.' : 'Records that devices write show up here.'}
        </Empty>
      ) : (
        <RecordTable collection={collection} page={page} question={question} onAsk={onAsk} />
      )}
      <Pager
        offset={page.offset}
        shown={page.records.length}
        total={isFiltered || question.deleted === 'yes' ? null : collection.records}
        hasMore={page.hasMore}
        pageSize={PAGE_SIZE}
        onTurn={(next) => onAsk({ offset: next })}
      />
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
