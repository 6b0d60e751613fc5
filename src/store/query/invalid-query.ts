import { StoreError } from '../../core/errors.ts'

/** The error for a query that no store can answer. */
export function invalidQuery(message: string): StoreError {
  return new StoreError('INVALID_QUERY', message)
}
