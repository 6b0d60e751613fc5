import type { JSX } from 'preact'
import type { ShownWarning, WarningsAnswer } from '../../http/dashboard/api-types.ts'
import { formatCount, visibleText } from '../format.ts'
import { Empty, PageTitle, Problem, Waiting } from '../parts/states.tsx'
import { Text, Time } from '../parts/values.tsx'
import { useAnswer } from '../use-answer.ts'

const REFRESH_MS = 3000

export function WarningsView(): JSX.Element {
  const loaded = useAnswer<WarningsAnswer>('warnings', {}, REFRESH_MS)
  const { answer } = loaded
  return (
    <>
      <PageTitle title="Warnings and errors">
        {answer !== null && <span class="quiet">{formatCount(answer.total)} since the start</span>}
      </PageTitle>
      <Problem loaded={loaded} />
      <Waiting loaded={loaded} />
      {answer !== null && answer.total === 0 && (
        <Empty title="Nothing to report">
          Warnings and errors of the log show up here. Stacks are in the log only.
        </Empty>
      )}
      {answer !== null && answer.total > 0 && (
        <>
          <Warnings warnings={answer.warnings} />
          {hasDropped(answer) && (
            <p class="quiet">
              The last {formatCount(answer.warnings.length)} different ones are kept, some of each kind.
            </p>
          )}
        </>
      )}
    </>
  )
}

function hasDropped({ total, warnings }: WarningsAnswer): boolean {
  return warnings.reduce((sum, { count }) => sum + count, 0) < total
}

function Warnings({ warnings }: { warnings: readonly ShownWarning[] }): JSX.Element {
  return (
    <table class="cards">
      <thead>
        <tr>
          <th>Time</th>
          <th>Level</th>
          <th>What</th>
          <th class="number">Times</th>
        </tr>
      </thead>
      <tbody>
        {warnings.map(({ at, level, message, fields, count }, index) => (
          <tr key={`${at} ${index}`}>
            <td data-label="Time">
              <Time at={at} />
            </td>
            <td data-label="Level">
              <span class={`level ${level}`}>{level}</span>
            </td>
            <td data-label="What" class="wrap">
              <Text text={message} />
              <span class="quiet fields">
                {Object.entries(fields)
                  .map(([name, value]) => `${name} ${visibleText(value)}`)
                  .join(' · ')}
              </span>
            </td>
            <td class="number" data-label="Times">
              {formatCount(count)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}
