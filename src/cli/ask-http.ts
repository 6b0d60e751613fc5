import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import { messageOf } from '../core/error-message.ts'
import type { ServerAddress } from './server-address.ts'

export interface HttpAnswer {
  readonly code: number
  /** Empty when the answer is not a JSON object. */
  readonly body: { readonly [name: string]: unknown }
}

export interface HttpQuestion {
  readonly path: string
  readonly token?: string | null
  readonly timeoutMs: number
}

const MAX_BODY_BYTES = 16 * 1024 * 1024 // the status of some hundred thousand nodes; other programs may send anything

/**
 * Sends a request to a server. Redirections are not followed, because the token is for this server only.
 *
 * @returns the answer, or the problem when there was none
 */
export async function askHttp(server: ServerAddress, question: HttpQuestion): Promise<HttpAnswer | string> {
  const signal = AbortSignal.timeout(question.timeoutMs)
  try {
    return await readAnswer(await send(server, question, signal))
  } catch (error) {
    if (signal.aborted) return `it did not answer within ${question.timeoutMs / 1000} s.`
    return describeFailure(error, server)
  }
}

function send(
  { url, certFile }: ServerAddress,
  { path, token = null }: HttpQuestion,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const target = new URL(path, url)
  const options: RequestOptions = {
    agent: false, // so that no connection stays open after the answer
    headers: token === null ? {} : { authorization: `Bearer ${token}` },
    signal,
    ...(certFile !== null && onlyFrom(readCertificate(certFile))),
  }
  return new Promise((resolve, reject) => {
    const request = target.protocol === 'https:' ? httpsRequest : httpRequest
    request(target, options, resolve).on('error', reject).end()
  })
}

/**
 * Accepts an answer only from the owner of this certificate. It was issued for the public name, while the server is
 * addressed by another, so the certificate itself is compared instead of the name. Its issuer is not trusted,
 * because it issues certificates to others too.
 */
function onlyFrom(certificate: X509Certificate): RequestOptions {
  return {
    ca: certificate.toString(),
    allowPartialTrustChain: true, // it need not be self-signed
    rejectUnauthorized: true, // even if the environment turns this off
    checkServerIdentity: (_name, { fingerprint256 }) =>
      fingerprint256 === certificate.fingerprint256 ? undefined : new OtherCertificateError(),
  }
}

class OtherCertificateError extends Error {
  readonly code = 'ERR_TLS_CERT_ALTNAME_INVALID' // the same as for a certificate with another name
}

/** Reads the first certificate of a chain, which is that of the server. */
function readCertificate(file: string): X509Certificate {
  try {
    return new X509Certificate(readFileSync(file))
  } catch (error) {
    const reason = messageOf(error)
    throw new Error(`${file} cannot be read as its certificate: ${reason}`, { cause: error })
  }
}

async function readAnswer(response: IncomingMessage): Promise<HttpAnswer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength
    if (bytes > MAX_BODY_BYTES) throw new Error('its answer does not end')
    chunks.push(chunk)
  }
  return { code: response.statusCode ?? 0, body: parseObject(Buffer.concat(chunks).toString('utf8')) }
}

function parseObject(text: string): HttpAnswer['body'] {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

/** What `askHttp` says where nothing listens at the address. */
export const CONNECTION_REFUSED = 'the connection was refused. Is it running?'

/** Errors of verification for a certificate that is neither the trusted one nor issued by it. */
const OTHER_CERTIFICATE: ReadonlySet<string | undefined> = new Set([
  'CERT_SIGNATURE_FAILURE',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])

function describeFailure(error: unknown, { certFile }: ServerAddress): string {
  if (!(error instanceof Error)) return String(error)
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ECONNREFUSED') return CONNECTION_REFUSED
  if (certFile !== null && OTHER_CERTIFICATE.has(code))
    return `its certificate is not the one in ${certFile}.`
  return `${message || code}.`
}
