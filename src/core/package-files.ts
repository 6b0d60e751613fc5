import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const NAME = 'kora-server'

/**
 * The absolute path of a file of this package. It is located from the package root, because the build moves code to
 * other files.
 *
 * @param path from the root of the package: `config/schema.ts`
 * @returns its absolute path
 * @throws Error where this code is not inside the package
 */
export function packageFile(path: string): string {
  return join(packageRoot(), path)
}

/** The version in this package's package.json. */
export function packageVersion(): string {
  const text = readFileSync(packageFile('package.json'), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

let foundRoot: string | undefined

function packageRoot(): string {
  foundRoot ??= findRoot(dirname(fileURLToPath(import.meta.url)))
  return foundRoot
}

function findRoot(folder: string): string {
  const file = join(folder, 'package.json')
  if (existsSync(file) && (JSON.parse(readFileSync(file, 'utf8')) as { name?: string }).name === NAME)
    return folder
  const parent = dirname(folder)
  if (parent !== folder) return findRoot(parent)
  throw new Error(
    `The package.json of ${NAME} is missing above ${fileURLToPath(import.meta.url)}. Do not bundle ${NAME} into another file: it reads files of its own.`,
  )
}
