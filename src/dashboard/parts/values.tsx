import type { JSX } from 'preact'
import type { ShownValue } from '../../http/dashboard/api-types.ts'
import { formatExactTime, formatTime, shortId, visibleLines, visibleText } from '../format.ts'

/** A value on one line, as a text node. */
export function Value({ value }: { value: ShownValue | undefined }): JSX.Element {
  if (value === undefined || value.kind === 'null') return <span class="value null">null</span>
  if (value.kind === 'time') return <Time at={Number(value.text)} />
  if (value.kind === 'text' && value.text === '') return <span class="value null">empty</span>
  return (
    <span class={`value ${value.kind}`} title={visibleText(value.text)}>
      {visibleText(value.text)}
      {value.fullLength !== undefined && '…'}
    </span>
  )
}

/** A value with its line breaks, and how much of it is missing. */
export function WholeValue({ value }: { value: ShownValue | undefined }): JSX.Element {
  if (value === undefined || (value.kind !== 'text' && value.kind !== 'json') || value.text === '') {
    return <Value value={value} />
  }
  return (
    <span class={`value whole ${value.kind}`}>
      {visibleLines(value.text)}
      {value.fullLength !== undefined && (
        <span class="quiet"> … {value.fullLength - value.text.length} more characters</span>
      )}
    </span>
  )
}

export function Id({ id, isShort = true }: { id: string; isShort?: boolean }): JSX.Element {
  return (
    <span class="id" title={visibleText(id)}>
      {visibleText(isShort ? shortId(id) : id)}
    </span>
  )
}

export function Text({ text }: { text: string }): JSX.Element {
  return (
    <span class="text" title={visibleText(text)}>
      {visibleText(text)}
    </span>
  )
}

export function Time({ at }: { at: number }): JSX.Element {
  return (
    <time class="time" title={formatExactTime(at)}>
      {formatTime(at)}
    </time>
  )
}
