import { statSync } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { resolve, sep } from 'node:path'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ConfigError } from '../core/errors.ts'
import { pathOf } from './request-path.ts'

/**
 * The built front end, as a single-page app: what is a file is served as one, and who asks for a page
 * anywhere else is given `index.html`, whose router knows the address.
 *
 * Files beside which a `.br` or `.gz` stands are sent compressed to whoever accepts that. Files that
 * begin with a dot are not served, except below `.well-known`; nor is what symbolic links lead to
 * outside of the folder.
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
    suppressWarning: true, // the folder may be built after the start
  })
}

/**
 * The folder may be missing: it may be built after the start.
 *
 * @returns its absolute path
 * @throws ConfigError `CONFIG_INVALID` for what is there and is no folder
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

/** Answers 404 with an `error`, which nobody may cache. */
export function notFound(reply: FastifyReply, error = 'Nothing is served here.'): FastifyReply {
  return reply.code(404).header('cache-control', 'no-store').send({ error })
}

/** A browser on its way to a page, and not a script or a client that asks for data. */
export function isNavigation({ raw: { method, headers } }: FastifyRequest): boolean {
  if (method !== 'GET' && method !== 'HEAD') return false
  return headers.accept?.includes('text/html') === true
}

/**
 * True for whoever takes a page for an answer, at an address that is not that of a file: link previews,
 * monitors and `curl` do not ask for HTML by name. Data is asked for as JSON, and files have a dot in their
 * name.
 *
 * @see connect-history-api-fallback, by whose rules development servers answer
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
 * Built files carry a hash of their content in their name and never change; everything else is
 * asked for again, and answered with 304 when it has not changed.
 */
export function cacheControlOf(path: string): string {
  return hasContentHash(path) ? 'public, max-age=31536000, immutable' : 'no-cache'
}

/**
 * `app-BxY12zQ7.js`, `main.3f2a91bc.css`: letters of both kinds or digits among them, so that a word
 * is not taken for a hash. Without a digit only in the folder where bundlers put nothing else.
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
