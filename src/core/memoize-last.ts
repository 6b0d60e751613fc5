/**
 * The function, which remembers its last answer: for what is asked of each operation of a batch and is
 * mostly the same for all of them. The argument is compared by `===`, so it must be a value that cannot
 * change, or one whose changes do not matter.
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
