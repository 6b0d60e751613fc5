import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * A file of this package. Looked for from its root, because the build puts the code that asks for it into files
 * elsewhere than the sources are.
 *
 * @param path from the root of the package: `config/schema.ts`
 * @returns its absolute path
 */
export function packageFile(path: string): string {
  return join(packageRoot(), path)
}

function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder)
  return folder
}
