import type { JSX } from 'preact'
import type { RecordsPage, ShownCollection, ShownRecord } from '../../http/dashboard/api-types.ts'
import { Id, Time, Value } from '../parts/values.tsx'
import { href } from '../route.ts'
import type { RecordsQuestion } from './records-question.ts'

interface RecordTableProperties {
  readonly collection: ShownCollection
  readonly page: RecordsPage
  readonly question: RecordsQuestion
  readonly onAsk: (change: Partial<RecordsQuestion>) => void
}

/** A page of records; a click on a column orders by it. */
export function RecordTable({ collection, page, question, onAsk }: RecordTableProperties): JSX.Element {
  const columns: readonly { name: string; isOrdered: boolean }[] = [
    { name: 'id', isOrdered: true },
    ...collection.fields,
    { name: '_updated_at', isOrdered: true },
  ]
  return (
    <section class="scroll" aria-label="Records">
      <table class="records">
        <thead>
          <tr>
            {columns.map(({ name, isOrdered }) => (
              <th key={name} aria-sort={sortOf(name, question)}>
                {isOrdered ? (
                  <button type="button" class="order" onClick={() => onAsk(nextOrder(name, question))}>
                    {name === '_updated_at' ? 'updated' : name}
                    <span aria-hidden="true">{arrowOf(name, question)}</span>
                  </button>
                ) : (
                  name
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
