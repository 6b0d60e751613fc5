import type { JSX } from 'preact'
import type { CollectionsAnswer, ShownCollection } from '../../http/dashboard/api-types.ts'
import { formatCount } from '../format.ts'
import { Empty, PageTitle, Problem, Waiting } from '../parts/states.tsx'
import { Text } from '../parts/values.tsx'
import { href } from '../route.ts'
import { useAnswer } from '../use-answer.ts'

const REFRESH_MS = 5000

/** The collections of the schema, and how many records each has. */
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
