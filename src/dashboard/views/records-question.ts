/** The selection of records that is shown, as the address of the page names it. */
export interface RecordsQuestion {
  readonly field: string
  readonly value: string
  readonly orderBy: string
  readonly direction: 'asc' | 'desc'
  readonly deleted: 'yes' | 'no'
  readonly offset: number
}

/** The selection in an address; defaults for the parts that it omits. */
export function questionOf(parameters: URLSearchParams): RecordsQuestion {
  return {
    field: parameters.get('field') ?? '',
    value: parameters.get('value') ?? '',
    orderBy: parameters.get('orderBy') ?? 'id',
    direction: parameters.get('direction') === 'desc' ? 'desc' : 'asc',
    deleted: parameters.get('deleted') === 'yes' ? 'yes' : 'no',
    offset: Number(parameters.get('offset') ?? 0) || 0,
  }
}
