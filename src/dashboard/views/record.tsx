import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import type {
  RecordAnswer,
  ShownAuthor,
  ShownOperation,
  ShownRecord,
} from '../../http/dashboard/api-types.ts'
import { formatCount, formatQuantity } from '../format.ts'
import { Empty, PageTitle, Problem, Waiting } from '../parts/states.tsx'
import { Id, Text, Time, Value, WholeValue } from '../parts/values.tsx'
import { href } from '../route.ts'
import { useAnswer } from '../use-answer.ts'

const PAGE_SIZE = 100
const LARGE_PAGE_SIZE = 1000

/** One record: its fields, and the operations that made them so. */
export function RecordView({ collection, id }: { collection: string; id: string }): JSX.Element {
  const [page, setPage] = useState<{ limit: number; after?: number }>({ limit: PAGE_SIZE })
  const loaded = useAnswer<RecordAnswer>('record', { collection, id, ...page })
  const { answer } = loaded
  return (
    <>
      <PageTitle
        title={
          <>
            <a href="#/records">Records</a> <span class="quiet">/</span>{' '}
            <a href={href(['records', collection])}>
              <Text text={collection} />
            </a>{' '}
            <span class="quiet">/</span> <Id id={id} isShort={false} />
          </>
        }
      >
        <button type="button" onClick={loaded.reload}>
          Refresh
        </button>
      </PageTitle>
      <Problem loaded={loaded} />
      <Waiting loaded={loaded} />
      {answer !== null && answer.operations.length === 0 && answer.record === null && (
        <Empty title="There is no such record">No operation in the log names it.</Empty>
      )}
      {answer !== null && answer.record !== null && (
        <PresentValues record={answer.record} setBy={answer.setBy} />
      )}
      {answer !== null && answer.operations.length > 0 && <History answer={answer} onTurn={setPage} />}
    </>
  )
}

function PresentValues({
  record,
  setBy,
}: {
  record: ShownRecord
  setBy: RecordAnswer['setBy']
}): JSX.Element {
  return (
    <section class="panel">
      <h2>
        Now {record.isDeleted && <span class="tag">deleted</span>}
        <span class="quiet h2-note">
          created <Time at={record.createdAt} />, updated <Time at={record.updatedAt} />
        </span>
      </h2>
      <table class="cards present">
        <thead>
          <tr>
            <th>Field</th>
            <th>Value</th>
            <th>Set by</th>
          </tr>
        </thead>
        <tbody>
          {Object.entries(record.values).map(([field, value]) => (
            <tr key={field}>
              <td data-label="Field" class="field">
                {field}
              </td>
              <td data-label="Value">
                <WholeValue value={value} />
              </td>
              <td data-label="Set by">
                <SetBy author={Object.hasOwn(setBy, field) ? setBy[field] : undefined} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

function SetBy({ author }: { author: ShownAuthor | undefined }): JSX.Element {
  if (author === undefined) return <span class="quiet">–</span>
  return (
    <span class="set-by">
      <Author author={author} /> <Time at={author.wallTime} />
    </span>
  )
}

function Author({ author: { nodeId, userId, isServer } }: { author: ShownAuthor }): JSX.Element {
  return (
    <span class="author">
      {isServer ? <span class="tag">server</span> : userId !== null && <Text text={userId} />}{' '}
      <Id id={nodeId} />
    </span>
  )
}

function History({
  answer,
  onTurn,
}: {
  answer: RecordAnswer
  onTurn: (page: { limit: number; after?: number }) => void
}): JSX.Element {
  const { operations, isFromStart, isToEnd } = answer
  const last = operations.at(-1)
  return (
    <section class="panel">
      <h2>
        History
        <span class="quiet h2-note">
          {isFromStart && isToEnd
            ? `${formatQuantity(operations.length, 'operation')}, the last stored first`
            : `${formatCount(operations.length)} of its operations`}
        </span>
      </h2>
      {!isToEnd && last !== undefined && (
        <div class="pager">
          <button type="button" onClick={() => onTurn({ limit: PAGE_SIZE })}>
            Newest
          </button>
          <button type="button" onClick={() => onTurn({ limit: PAGE_SIZE, after: last.deliverySequence })}>
            Later
          </button>
        </div>
      )}
      <ol class="history">
        {operations.toReversed().map((operation) => (
          <li key={operation.id}>
            <Entry operation={operation} />
          </li>
        ))}
      </ol>
      {!isFromStart && (
        <div class="pager">
          <button type="button" onClick={() => onTurn({ limit: LARGE_PAGE_SIZE })}>
            Last {formatCount(LARGE_PAGE_SIZE)}
          </button>
          <button type="button" onClick={() => onTurn({ limit: PAGE_SIZE, after: 0 })}>
            From the first
          </button>
        </div>
      )}
    </section>
  )
}

function Entry({ operation }: { operation: ShownOperation }): JSX.Element {
  const { type, wallTime, deliverySequence, mutationName, transactionId, isEncrypted, changes } = operation
  return (
    <article class="entry">
      <header>
        <span class={`type ${type}`}>{type}</span>
        <Time at={wallTime} />
        <Author author={operation} />
        {mutationName !== null && (
          <span class="tag">
            <Text text={mutationName} />
          </span>
        )}
        {transactionId !== null && (
          <span class="quiet">
            transaction <Id id={transactionId} />
          </span>
        )}
        <span class="quiet sequence">#{formatCount(deliverySequence)}</span>
      </header>
      {isEncrypted && <p class="quiet">End-to-end encrypted: only devices can read it.</p>}
      {changes.length > 0 && (
        <dl class="changes">
          {changes.map((change) => (
            <div key={change.field} class={change.isCurrent ? 'current' : undefined}>
              <dt>{change.field}</dt>
              <dd>
                {change.before !== null && (
                  <>
                    <span class="before">
                      <Value value={change.before} />
                    </span>
                    <span class="quiet" aria-hidden="true">
                      {' → '}
                    </span>
                  </>
                )}
                <Value value={change.value} />
                {change.atomic !== null && <span class="tag">{change.atomic}</span>}
                {change.isCurrent && <span class="tag now">latest</span>}
              </dd>
            </div>
          ))}
        </dl>
      )}
    </article>
  )
}
