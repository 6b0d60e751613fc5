import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * A small server that speaks S3 the way the storages do that are sold: signatures are verified
 * (Signature Version 4), an upload is invisible until it is completed, all its parts but the last
 * must have 5 MB, and lists come in pages.
 */
export interface S3Server extends AsyncDisposable {
  readonly endpoint: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly objects: Map<string, Buffer>
  /** Uploads that were begun and neither completed nor aborted. */
  readonly uploads: Map<string, Upload>
  /** Called before each request is answered: 'cut' ends its connection, 'silent' leaves it without one, a number is the status of an error. */
  onRequest: (request: { method: string; url: string }) => 'cut' | 'silent' | number | undefined
}

interface Upload {
  readonly key: string
  readonly startedAt: Date
  readonly parts: Map<number, Buffer>
}

interface S3Request {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly body: Buffer
}

const BUCKET = 'backups'
const PAGE_KEYS = 2
const MIN_PART_BYTES = 5 * 1024 * 1024

export async function openS3Server(): Promise<S3Server> {
  const server = createServer()
  const storage = new Storage()
  const s3: S3Server = {
    endpoint: '',
    accessKeyId: 'test-key',
    secretAccessKey: 'canary-secret-of-the-bucket',
    objects: storage.objects,
    uploads: storage.uploads,
    onRequest: () => undefined,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  server.on('request', (request, response) => {
    serve(request, response, s3, storage).catch(() => request.socket.destroy()) // the client went away
  })
  await listen(server)
  return Object.assign(s3, { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
}

function listen(server: Server): Promise<void> {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  s3: S3Server,
  storage: Storage,
): Promise<void> {
  const { method = '', url = '' } = request
  const fate = s3.onRequest({ method, url })
  if (fate === 'cut') return void request.socket.destroy()
  if (fate === 'silent') return
  const body = await readBody(request)
  const { pathname, searchParams } = new URL(url, s3.endpoint)
  const refusal = typeof fate === 'number' ? error(fate, 'InternalError') : refuseSignature(request, body, s3)
  const path = decodeURIComponent(pathname)
  const answer = refusal ?? storage.answer({ method, path, query: searchParams, body })
  response.writeHead(answer.status, { 'content-type': 'application/xml', ...answer.headers })
  response.end(answer.body)
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

interface S3Answer {
  readonly status: number
  readonly body: string | Buffer
  readonly headers?: Record<string, string>
}

class Storage {
  readonly objects = new Map<string, Buffer>()
  readonly uploads = new Map<string, Upload>()
  #uploadCount = 0

  answer({ method, path, query, body }: S3Request): S3Answer {
    const [, bucket = '', key = ''] = /^\/([^/]*)\/?(.*)$/s.exec(path) ?? []
    if (bucket !== BUCKET) return error(404, 'NoSuchBucket')
    if (key === '' && query.has('uploads')) return this.#listUploads(query.get('prefix') ?? '')
    if (key === '') return this.#list(query)
    const uploadId = query.get('uploadId')
    if (method === 'POST' && query.has('uploads')) return this.#begin(key)
    if (uploadId !== null) return this.#continue(uploadId, { method, path, query, body })
    return this.#answerObject(method, key, body)
  }

  #answerObject(method: string, key: string, body: Buffer): S3Answer {
    if (method === 'PUT') this.objects.set(key, body)
    if (method === 'DELETE') {
      this.objects.delete(key)
      return { status: 204, body: '' }
    }
    const object = this.objects.get(key)
    return object === undefined
      ? error(404, 'NoSuchKey')
      : { status: 200, body: method === 'GET' ? object : '', headers: { etag: etagOf(object) } }
  }

  #begin(key: string): S3Answer {
    const id = `upload-${++this.#uploadCount}`
    this.uploads.set(id, { key, startedAt: new Date(), parts: new Map() })
    return xml('InitiateMultipartUploadResult', `<UploadId>${id}</UploadId>`)
  }

  #continue(id: string, { method, query, body }: S3Request): S3Answer {
    const upload = this.uploads.get(id)
    if (upload === undefined) return error(404, 'NoSuchUpload')
    if (method === 'PUT') {
      upload.parts.set(Number(query.get('partNumber')), body)
      return { status: 200, body: '', headers: { etag: etagOf(body) } }
    }
    if (method === 'POST') return this.#complete(id, upload, body.toString())
    this.uploads.delete(id)
    return { status: 204, body: '' }
  }

  #complete(id: string, { key, parts }: Upload, manifest: string): S3Answer {
    const named = [...manifest.matchAll(/<Part>.*?<\/Part>/gs)].map(([part]) => ({
      number: Number(/<PartNumber>(\d+)</.exec(part)?.[1]),
      etag: /<ETag>(.*?)</.exec(part)?.[1]?.replaceAll('&quot;', '"'),
    }))
    const found = named.map(({ number, etag }) => {
      const part = parts.get(number)
      return part !== undefined && etagOf(part) === etag ? part : null
    })
    if (found.length === 0 || found.includes(null)) return error(400, 'InvalidPart')
    const pieces = found as Buffer[]
    if (pieces.slice(0, -1).some((piece) => piece.length < MIN_PART_BYTES))
      return error(400, 'EntityTooSmall')
    this.uploads.delete(id)
    this.objects.set(key, Buffer.concat(pieces))
    return xml('CompleteMultipartUploadResult', `<Key>${key}</Key>`)
  }

  #list(query: URLSearchParams): S3Answer {
    const prefix = query.get('prefix') ?? ''
    const after = query.get('continuation-token') ?? ''
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort()
    const page = keys.slice(0, Math.min(PAGE_KEYS, Number(query.get('max-keys') ?? PAGE_KEYS)))
    const contents = page.map((key) => {
      const object = this.objects.get(key) ?? Buffer.alloc(0)
      return `<Contents><Key>${key}</Key><Size>${object.length}</Size><ETag>${etagOf(object)}</ETag></Contents>`
    })
    const isTruncated = page.length < keys.length
    const token = isTruncated ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : ''
    return xml('ListBucketResult', `<IsTruncated>${isTruncated}</IsTruncated>${token}${contents.join('')}`)
  }

  #listUploads(prefix: string): S3Answer {
    const uploads = [...this.uploads].filter(([, { key }]) => key.startsWith(prefix))
    return xml(
      'ListMultipartUploadsResult',
      uploads
        .map(
          ([id, { key, startedAt }]) =>
            `<Upload><Key>${key}</Key><UploadId>${id}</UploadId><Initiated>${startedAt.toISOString()}</Initiated></Upload>`,
        )
        .join(''),
    )
  }
}

/** @see "Authenticating Requests: Using the Authorization Header" of the S3 API reference */
function refuseSignature(
  { method = '', url = '', headers }: IncomingMessage,
  body: Buffer,
  { accessKeyId, secretAccessKey }: S3Server,
): S3Answer | null {
  const match =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=(\w+)$/.exec(
      headers.authorization ?? '',
    )
  if (match === null) return error(403, 'AccessDenied')
  const [, keyId, date = '', region = '', signedHeaders = '', signature = ''] = match
  if (keyId !== accessKeyId) return error(403, 'InvalidAccessKeyId')
  const contentHash = String(headers['x-amz-content-sha256'])
  if (contentHash !== sha256(body)) return error(400, 'XAmzContentSHA256Mismatch')
  const [path = '', query = ''] = url.split('?')
  const canonicalRequest = [
    method,
    path,
    query
      .split('&')
      .filter((pair) => pair !== '')
      .map((pair) => (pair.includes('=') ? pair : `${pair}=`))
      .sort()
      .join('&'),
    ...signedHeaders.split(';').map((name) => `${name}:${String(headers[name]).trim()}`),
    '',
    signedHeaders,
    contentHash,
  ].join('\n')
  const scope = `${date}/${region}/s3/aws4_request`
  const text = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, sha256(canonicalRequest)].join('\n')
  const key = [date, region, 's3', 'aws4_request'].reduce<string | Buffer>(hmac, `AWS4${secretAccessKey}`)
  const expected = hmac(key, text)
  const given = Buffer.from(signature, 'hex')
  const isRight = given.length === expected.length && timingSafeEqual(given, expected)
  return isRight ? null : error(403, 'SignatureDoesNotMatch')
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function sha256(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex')
}

function etagOf(content: Buffer): string {
  return `"${createHash('md5').update(content).digest('hex')}"`
}

function xml(root: string, content: string): S3Answer {
  return { status: 200, body: `<?xml version="1.0" encoding="UTF-8"?><${root}>${content}</${root}>` }
}

function error(status: number, code: string): S3Answer {
  return { ...xml('Error', `<Code>${code}</Code><Message>${code}</Message>`), status }
}
