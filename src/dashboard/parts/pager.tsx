import type { JSX } from 'preact'
import { formatCount } from '../format.ts'

export interface PagerProperties {
  readonly offset: number
  readonly shown: number
  /** null: the total is not known. */
  readonly total: number | null
  readonly hasMore: boolean
  readonly pageSize: number
  readonly onTurn: (offset: number) => void
}

export function Pager({
  offset,
  shown,
  total,
  hasMore,
  pageSize,
  onTurn,
}: PagerProperties): JSX.Element | null {
  if (offset === 0 && !hasMore) return null
  return (
    <div class="pager">
      <button type="button" disabled={offset === 0} onClick={() => onTurn(Math.max(0, offset - pageSize))}>
        Previous
      </button>
      <span class="quiet">
        {shown === 0 ? 'No more' : `${formatCount(offset + 1)}–${formatCount(offset + shown)}`}
        {total !== null && ` of ${formatCount(total)}`}
      </span>
      <button type="button" disabled={!hasMore} onClick={() => onTurn(offset + pageSize)}>
        Next
      </button>
    </div>
  )
}
