import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import type { ShownField } from '../../http/dashboard/api-types.ts'
import type { RecordsQuestion } from './records-question.ts'

interface RecordFiltersProperties {
  readonly fields: readonly ShownField[]
  readonly question: RecordsQuestion
  readonly onAsk: (change: Partial<RecordsQuestion>) => void
}

/** A filter by one field, and whether deleted records are shown. */
export function RecordFilters({ fields, question, onAsk }: RecordFiltersProperties): JSX.Element {
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
