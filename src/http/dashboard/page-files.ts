import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { packageFile } from '../../core/package-files.ts'

/** One file of the built page, with its compressed forms. */
export interface PageFile {
  readonly contentType: string
  readonly plain: Buffer
  readonly gzip: Buffer | null
  /** Brotli. */
  readonly br: Buffer | null
}

export interface PageFiles {
  readonly index: PageFile
  /** By file name, which contains a hash of the content. */
  readonly assets: ReadonlyMap<string, PageFile>
}

const CONTENT_TYPES: { readonly [extension: string]: string } = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
}

/**
 * Reads the built page into memory, some hundred kB, so that nothing but its own files can ever be served.
 *
 * @returns null when it has not been built
 */
export function readPageFiles(): PageFiles | null {
  const folder = packageFile('dist/dashboard')
  const assets = join(folder, 'assets')
  if (!existsSync(assets)) return null
  const names = readdirSync(assets).filter((name) => Object.hasOwn(CONTENT_TYPES, extname(name)))
  return {
    index: readFile(join(folder, 'index.html')),
    assets: new Map(names.map((name) => [name, readFile(join(assets, name))])),
  }
}

function readFile(path: string): PageFile {
  return {
    contentType: CONTENT_TYPES[extname(path)] ?? 'application/octet-stream',
    plain: readFileSync(path),
    gzip: readIfThere(`${path}.gz`),
    br: readIfThere(`${path}.br`),
  }
}

function readIfThere(path: string): Buffer | null {
  return existsSync(path) ? readFileSync(path) : null
}
