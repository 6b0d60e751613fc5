import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { OperatorAccess } from '../../sync/authorization.ts'
import { type OperationsAccess, sendRefusal } from '../operations/access.ts'
import { isNavigation } from '../static-files.ts'
import { chooseEncoding } from './accepted-encoding.ts'
import { type PageFile, readPageFiles } from './page-files.ts'

/**
 * Only the page's own files may run or load, nothing may frame the page, and no text of a record can become markup:
 * the browser refuses to turn any string into HTML or script.
 */
const SECURITY_HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; '),
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=(), payment=(), usb=()',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
}

/** The smaller one first. */
const COMPRESSED = ['br', 'gzip'] as const

const NOT_BUILT = 'The dashboard is not built. Run `npm run build`, or install the published package.'

/**
 * Mounts the page of the dashboard, which holds no data. A browser cannot send a token when it navigates to a page,
 * so the page is open to anyone and asks for the token itself. Where the operations endpoints are closed, the page
 * is too.
 */
export function mountPageRoutes(app: FastifyInstance, prefix: string, access: OperationsAccess): void {
  const files = readPageFiles()
  const sendIndex = (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    reply.headers(SECURITY_HEADERS)
    reply.header('cache-control', 'no-cache')
    reply.header('vary', 'accept, accept-encoding')
    const verdict = access.admit(request.raw, 'admin')
    const asksForPage = isNavigation(request)
    if (!(verdict instanceof OperatorAccess) && (verdict.status === 403 || !asksForPage)) {
      if (!asksForPage) return sendRefusal(reply, verdict)
      reply.code(verdict.status).headers(verdict.headers ?? {})
      return reply.type('text/plain; charset=utf-8').send(verdict.error)
    }
    if (files === null) return reply.code(503).send({ error: NOT_BUILT })
    return sendFile(request, reply, files.index)
  }
  app.get(prefix, sendIndex)
  app.get(`${prefix}/`, sendIndex)
  app.get(`${prefix}/assets/:name`, (request, reply) => {
    const { name } = request.params as { name: string } // guaranteed by the pattern above
    const file = files?.assets.get(name)
    reply.headers(SECURITY_HEADERS)
    if (file === undefined) return reply.code(404).send({ error: 'The page has no such file.' })
    reply.header('cache-control', 'public, max-age=31536000, immutable')
    reply.header('vary', 'accept-encoding')
    return sendFile(request, reply, file)
  })
}

function sendFile(request: FastifyRequest, reply: FastifyReply, file: PageFile): FastifyReply {
  const accepted = String(request.headers['accept-encoding'] ?? '')
  const offered = COMPRESSED.filter((encoding) => file[encoding] !== null)
  const encoding = chooseEncoding(accepted, offered)
  if (encoding !== null) reply.header('content-encoding', encoding)
  return reply.type(file.contentType).send(file[encoding ?? 'plain'])
}
