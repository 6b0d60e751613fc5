import { relative } from 'node:path'

/** A path as a user would type it: relative if it lies below the working directory. */
export function displayPath(path: string, cwd: string): string {
  const fromCwd = relative(cwd, path)
  return fromCwd === '' || fromCwd.startsWith('..') ? path : fromCwd
}
