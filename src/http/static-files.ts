import { statSync } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { resolve, sep } from 'node:path'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ConfigError } from '../core/errors.ts'
import { pathOf } from './request-path.ts'

/**
 * Mounts the built front end as a single-page app: a file is served as it is, and a request for a page at any other
 * address gets `index.html`, whose router knows the address.
 *
 * A file with a `.br` or `.gz` beside it is sent compressed to clients that accept that. Files whose name begins
 * with a dot are not served, except below `.well-known`; nor is anything that symbolic links lead to outside of the
 * folder.
 *
 * @throws ConfigError `CONFIG_INVALID` for a file
 */
export function mountStaticFiles(app: FastifyInstance, directory: string): void {
  const root = requireNoFile(directory)
  app.register(import('@fastify/static'), {
    root,
    preCompressed: true,
    cacheControl: false, // set below
    allowedPath: (path) => !hasHiddenSegment(path),
    onFile: (path: string) => requireInside(root, path),
    setHeaders: (response, path) => {
      response.header('cache-control', cacheControlOf(path.slice(root.length).replaceAll(sep, '/')))
    },
    suppressWarning: true, // the folder may be built only after the start
  })
}

/**
 * Accepts a folder, or a path where nothing exists yet: the folder may be built after the start.
 *
 * @returns its absolute path
 * @throws ConfigError `CONFIG_INVALID` for anything there that is not a folder
 */
export function requireNoFile(directory: string): string {
  const root = resolve(directory)
  if (statSync(root, { throwIfNoEntry: false })?.isDirectory() !== false) return root
  throw new ConfigError(
    'CONFIG_INVALID',
    `http.staticDir: ${root} is a file. Name the folder that holds the built front end.`,
  )
}

/** Sends the page of the app. */
export function sendApp(reply: FastifyReply): FastifyReply {
  return reply.header('vary', 'accept').sendFile('index.html')
}

/** Answers 404 with an `error`, which must not be cached. */
export function notFound(reply: FastifyReply, error = 'Nothing is served here.'): FastifyReply {
  return reply.code(404).header('cache-control', 'no-store').send({ error })
}

/** True for a browser that navigates to a page, and not for a script or client that fetches data. */
export function isNavigation({ raw: { method, headers } }: FastifyRequest): boolean {
  if (method !== 'GET' && method !== 'HEAD') return false
  return headers.accept?.includes('text/html') === true
}

/**
 * True for a request that may be answered with a page, at an address that is not a file's. Link previews, monitors
 * and `curl` do not name HTML in what they accept. Data is requested as JSON, and files have a dot in their name.
 *
 * @see connect-history-api-fallback, whose rules development servers follow
 */
export function asksForPage({ raw }: FastifyRequest): boolean {
  const { method, headers } = raw
  if (method !== 'GET' && method !== 'HEAD') return false
  const { accept = '*/*' } = headers
  if (accept.startsWith('application/json') || !/text\/html|\*\/\*/.test(accept)) return false
  const path = pathOf(raw)
  return !path.slice(path.lastIndexOf('/')).includes('.')
}

/**
 * The cache rule for a built file. Names with a hash of the content never change; everything else is revalidated,
 * and answered with 304 when it has not changed.
 */
export function cacheControlOf(path: string): string {
  return hasContentHash(path) ? 'public, max-age=31536000, immutable' : 'no-cache'
}

/**
 * Recognizes `app-BxY12zQ7.js` and `main.3f2a91bc.css`. The hash has to contain digits, or letters of both cases,
 * so that a word is not taken for one; without a digit it counts only in the folder where bundlers put nothing
 * else.
 */
function hasContentHash(path: string): boolean {
  const file = path.slice(path.lastIndexOf('/') + 1).replace(/\.(br|gz)$/, '')
  const hash = /[.-]([\w-]{8,40})(\.[a-z]\w{0,9}){1,2}$/.exec(file)?.[1]
  if (hash === undefined || !/[a-z]/.test(hash)) return false
  if (/\d/.test(hash)) return true
  return path.startsWith('/assets/') && hash.length === 8 && /[A-Z]/.test(hash)
}

function hasHiddenSegment(path: string): boolean {
  const segments = path.split('/').filter((segment) => segment.startsWith('.'))
  return segments.some((segment) => segment !== '.well-known')
}

async function requireInside(root: string, path: string): Promise<void> {
  const [realRoot, realPath] = await Promise.all([realpath(root), realpath(path)])
  if (realPath.startsWith(realRoot + sep)) return
  throw Object.assign(new Error('Nothing is served here.'), { statusCode: 404 })
}
