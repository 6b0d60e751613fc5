import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/**
 * A library that is loaded when it is first used. Loading what a start does not need takes longer
 * than the start itself, and its code stays in memory. Of what it does need, an import of CommonJS takes
 * up to three times as long as this, because Node reads its files for the names that they export.
 *
 * @param name as in package.json; the library must be there as CommonJS
 * @returns a function that returns the library
 */
export function lazyRequire<Library>(name: string): () => Library {
  let library: Library | undefined
  return () => {
    library ??= require(name) as Library // the caller names the type of what it asks for
    return library
  }
}
