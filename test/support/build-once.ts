import { execFile } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const ENTRY = join(ROOT, 'dist/cli/main.js')

/** Vitest's global setup: tests of the built program always see the present sources. */
export async function setup(): Promise<void> {
  if (isBuilt()) return
  try {
    await promisify(execFile)('npm', ['run', 'build', '--silent'], { cwd: ROOT })
  } catch (error) {
    const { stdout } = error as { stdout?: string }
    // A type error is reported by the type check; what runs is there all the same.
    if (!existsSync(ENTRY)) throw new Error(`The build failed:\n${stdout}`, { cause: error })
    console.warn(`The build has type errors:\n${stdout}`)
  }
}

function isBuilt(): boolean {
  return existsSync(ENTRY) && newestChangeMs(join(ROOT, 'src')) < statSync(ENTRY).mtimeMs
}

function newestChangeMs(directory: string): number {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((newest, entry) => Math.max(newest, statSync(join(entry.parentPath, entry.name)).mtimeMs), 0)
}
