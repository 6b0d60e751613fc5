import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/**
 * Returns a function that loads a library when it is first called. Libraries that a start does not need take longer
 * to load than the start itself, and stay in memory. Even for one that is needed, importing CommonJS takes up to
 * three times as long as this, because Node scans its files for the names that they export.
 *
 * @param name as in package.json; the library must be available as CommonJS
 * @returns a function that returns the library
 */
export function lazyRequire<Library>(name: string): () => Library {
  let library: Library | undefined
  return () => {
    library ??= require(name) as Library // the caller names the type of the library
    return library
  }
}
