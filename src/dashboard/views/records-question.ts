/** Which records of a collection are shown, as the address of the page says it. */
export interface RecordsQuestion {
  readonly field: string
  readonly value: string
  readonly orderBy: string
  readonly direction: 'asc' | 'desc'
  readonly deleted: 'yes' | 'no'
  readonly offset: number
}

/** The question that an address asks; defaults for what it leaves out. */
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
