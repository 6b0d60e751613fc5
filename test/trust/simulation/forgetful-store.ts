import type { AppendResult, ServerStore } from '../../../src/store/store.ts'

/**
 * A store with a mistake: of every so many batches it forgets the last operation, and says that it had
 * it already. So what is acknowledged is not stored.
 */
export function forgetfulStore(inner: ServerStore, everyBatches: number): ServerStore {
  let batches = 0
  const append: ServerStore['append'] = async (requests) => {
    batches++
    if (batches % everyBatches !== 0) return inner.append(requests)
    const results = await inner.append(requests.slice(0, -1))
    const forgotten: AppendResult = { status: 'duplicate' }
    return [...results, forgotten]
  }
  return new Proxy(inner, {
    get(_target, property) {
      if (property === 'append') return append
      // The proxy hands out what the store has; which method it is only its caller knows.
      const member = (inner as unknown as Record<PropertyKey, unknown>)[property]
      return typeof member === 'function' ? member.bind(inner) : member
    },
  })
}
