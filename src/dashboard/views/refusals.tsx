import type { JSX } from 'preact'
import type { RefusalsAnswer } from '../../http/dashboard/api-types.ts'
import { formatCount } from '../format.ts'
import { Empty, PageTitle, Problem, Waiting } from '../parts/states.tsx'
import { Id, Text, Time } from '../parts/values.tsx'
import { href } from '../route.ts'
import { useAnswer } from '../use-answer.ts'

const REFRESH_MS = 3000

export function RefusalsView(): JSX.Element {
  const loaded = useAnswer<RefusalsAnswer>('refusals', {}, REFRESH_MS)
  const { answer } = loaded
  return (
    <>
      <PageTitle title="Refused operations">
        {answer !== null && <span class="quiet">{formatCount(answer.total)} since the start</span>}
      </PageTitle>
      <Problem loaded={loaded} />
      <Waiting loaded={loaded} />
      {answer !== null && answer.total === 0 && (
        <Empty title="Nothing has been refused">
          Operations that break a rule of the schema, the scopes or the limits show up here, with the reason.
        </Empty>
      )}
      {answer !== null && answer.total > 0 && (
        <>
          <Codes byCode={answer.byCode} />
          <Refusals refusals={answer.refusals} />
          {answer.refusals.length < answer.total && (
            <p class="quiet">The last {formatCount(answer.refusals.length)} are kept.</p>
          )}
        </>
      )}
    </>
  )
}

function Codes({ byCode }: { byCode: RefusalsAnswer['byCode'] }): JSX.Element {
  return (
    <ul class="codes">
      {byCode.map(({ code, count, remedy }) => (
        <li key={code}>
          <b>{formatCount(count)}</b> <Text text={code} />
          {remedy !== null && <p class="quiet">{remedy}</p>}
        </li>
      ))}
    </ul>
  )
}

function Refusals({ refusals }: { refusals: RefusalsAnswer['refusals'] }): JSX.Element {
  return (
    <table class="cards">
      <thead>
        <tr>
          <th>Time</th>
          <th>Code</th>
          <th>Reason</th>
          <th>Record</th>
          <th>From</th>
        </tr>
      </thead>
      <tbody>
        {refusals.map(({ at, code, detail, operationId, collection, recordId, userId, nodeId, wasTold }) => (
          <tr key={`${at} ${operationId}`}>
            <td data-label="Time">
              <Time at={at} />
            </td>
            <td data-label="Code">
              <Text text={code} />
              {!wasTold && <span class="tag">not told</span>}
            </td>
            <td data-label="Reason" class="wrap">
              <Text text={detail} />
            </td>
            <td data-label="Record">
              <a href={href(['records', collection, recordId])}>
                <Text text={collection} /> <Id id={recordId} />
              </a>
            </td>
            <td data-label="From">
              <Text text={userId} /> <Id id={nodeId} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}
