/**
 * Returns the function with a memory of its last result. It is for functions of each operation in a batch, where
 * the argument is mostly the same. Arguments are compared by `===`, so they must be values that cannot change, or
 * whose changes do not matter.
 */
export function memoizeLast<Argument, Result>(
  compute: (argument: Argument) => Result,
): (argument: Argument) => Result {
  let last: { readonly argument: Argument; readonly result: Result } | null = null
  return (argument) => {
    if (last === null || last.argument !== argument) last = { argument, result: compute(argument) }
    return last.result
  }
}
