import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** A folder of its own with the given files, gone when the test ends. */
export class ConfigFolder {
  readonly path: string

  constructor(files: { readonly [name: string]: string } = {}) {
    this.path = realpathSync(mkdtempSync(join(tmpdir(), 'kora-config-')))
    for (const [name, content] of Object.entries(files)) this.write(name, content)
  }

  /** @returns the absolute path */
  write(name: string, content: string): string {
    const file = join(this.path, name)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, content)
    return file
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}
