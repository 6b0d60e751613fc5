import type { Readable } from 'node:stream'
import type { S3Client } from '@aws-sdk/client-s3'
import { StoreError } from '../../core/errors.ts'
import { describeS3Failure } from './s3-failure.ts'
import { untilAborted } from './until-aborted.ts'
import type { WrittenBackup } from './write-backup-file.ts'

export interface S3BucketOptions {
  readonly bucket: string
  /** URL of a server with the S3 protocol; null: Amazon's. */
  readonly endpoint: string | null
  /** null: from the environment, or `us-east-1` for an endpoint, since most have no regions. */
  readonly region: string | null
  /** `https://host/bucket/key` in place of `https://bucket.host/key`. */
  readonly forcePathStyle: boolean
  /** null: from the AWS environment: variables, shared files, the role of the machine. */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | null
}

export interface S3Object {
  readonly bytes: number
  /** Changes with the content. */
  readonly etag: string
}

type Sdk = typeof import('@aws-sdk/client-s3')

interface StartedUpload {
  readonly Bucket: string
  readonly Key: string
  readonly UploadId: string
}

// Storages accept 10,000 parts, and some (Cloudflare R2) only parts of equal size: so a backup may have up to 80
// GB.
const PART_BYTES = 8 * 1024 * 1024
const MAX_PARTS = 10_000
const CONNECT_TIMEOUT_MS = 10_000
const IDLE_TIMEOUT_MS = 60_000 // without a byte in either direction
const ATTEMPTS = 4 // of one request, with growing pauses between them
const CLEAN_UP_TIMEOUT_MS = 5000

/** A bucket of object storage with the S3 protocol. The client library is loaded when one is opened. */
export class S3Bucket {
  readonly #sdk: Sdk
  readonly #client: S3Client
  readonly #options: S3BucketOptions

  private constructor(sdk: Sdk, options: S3BucketOptions) {
    this.#sdk = sdk
    this.#client = createClient(sdk, options)
    this.#options = options
  }

  /** @throws StoreError `DRIVER_MISSING` when the client library is not installed */
  static async open(options: S3BucketOptions): Promise<S3Bucket> {
    return new S3Bucket(await loadSdk(), options)
  }

  /** `s3://bucket/key` */
  urlOf(key: string): string {
    return `s3://${this.#options.bucket}/${key}`
  }

  /** All keys that begin with the prefix. */
  async list(prefix: string, abortSignal: AbortSignal = new AbortController().signal): Promise<string[]> {
    const pages = this.#sdk.paginateListObjectsV2(
      { client: this.#client },
      { Bucket: this.#options.bucket, Prefix: prefix },
      { abortSignal },
    )
    return this.#ask(async () => {
      const keys: string[] = []
      for await (const { Contents: objects = [] } of pages) {
        for (const { Key: key } of objects) if (key !== undefined) keys.push(key)
      }
      return keys
    })
  }

  /** @returns null when there is no such object in the bucket */
  async find(key: string): Promise<S3Object | null> {
    // The answer to HEAD has no body, so it does not distinguish a missing bucket from a missing object.
    const found = await this.#ask(() =>
      this.#client.send(
        new this.#sdk.ListObjectsV2Command({ Bucket: this.#options.bucket, Prefix: key, MaxKeys: 1 }),
      ),
    )
    const object = found.Contents?.[0]
    return object?.Key === key ? { bytes: object.Size ?? 0, etag: object.ETag ?? '' } : null
  }

  /** The content, if it is still the one that `find` saw. */
  async *read(key: string, { etag }: S3Object): AsyncGenerator<Uint8Array> {
    const get = new this.#sdk.GetObjectCommand({ Bucket: this.#options.bucket, Key: key, IfMatch: etag })
    const { Body: body } = await this.#ask(() => this.#client.send(get))
    try {
      for await (const chunk of body as Readable) yield chunk // in Node it is a Node stream
    } catch (error) {
      throw this.#failure(error)
    }
  }

  /**
   * Writes an object that appears only when it is complete, with the memory of one part (8 MB).
   *
   * @throws whatever the source throws; StoreError `BUCKET_FAILED`. Nothing of the object is left then
   */
  async write(
    key: string,
    source: AsyncIterable<Uint8Array>,
    abortSignal: AbortSignal = new AbortController().signal,
  ): Promise<WrittenBackup> {
    const { CreateMultipartUploadCommand } = this.#sdk
    const target = { Bucket: this.#options.bucket, Key: key }
    const { UploadId: id = '' } = await this.#ask(() =>
      this.#client.send(new CreateMultipartUploadCommand(target), { abortSignal }),
    )
    const upload = { ...target, UploadId: id }
    try {
      return await this.#upload(upload, source, abortSignal)
    } catch (error) {
      const timeout = AbortSignal.timeout(CLEAN_UP_TIMEOUT_MS)
      await this.#abort(upload, timeout).catch(() => {}) // the error that is thrown says more
      throw error
    }
  }

  async #upload(
    upload: StartedUpload,
    source: AsyncIterable<Uint8Array>,
    abortSignal: AbortSignal,
  ): Promise<WrittenBackup> {
    const { UploadPartCommand, CompleteMultipartUploadCommand } = this.#sdk
    const parts: { PartNumber: number; ETag: string | undefined }[] = []
    let bytes = 0
    for await (const part of inPartsOf(PART_BYTES, untilAborted(source, abortSignal))) {
      const number = parts.length + 1
      if (number > MAX_PARTS) throw new StoreError('BUCKET_FAILED', TOO_LARGE)
      const command = new UploadPartCommand({ ...upload, PartNumber: number, Body: part })
      const { ETag: etag } = await this.#ask(() => this.#client.send(command, { abortSignal }))
      parts.push({ PartNumber: number, ETag: etag })
      bytes += part.byteLength
    }
    const complete = new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts: parts } })
    await this.#ask(() => this.#client.send(complete, { abortSignal }))
    return { bytes }
  }

  async remove(key: string, abortSignal: AbortSignal): Promise<void> {
    const command = new this.#sdk.DeleteObjectCommand({ Bucket: this.#options.bucket, Key: key })
    await this.#ask(() => this.#client.send(command, { abortSignal }))
  }

  /** Removes the parts of unfinished uploads, which are invisible but cost money. */
  async abortUploads(
    prefix: string,
    isChosen: (upload: { readonly key: string; readonly startedAt: number }) => boolean,
    abortSignal: AbortSignal,
  ): Promise<void> {
    const { bucket } = this.#options
    const command = new this.#sdk.ListMultipartUploadsCommand({ Bucket: bucket, Prefix: prefix })
    const { Uploads: uploads = [] } = await this.#ask(() => this.#client.send(command, { abortSignal }))
    for (const { Key: key = '', UploadId: id = '', Initiated: at } of uploads) {
      if (!isChosen({ key, startedAt: at?.getTime() ?? Number.POSITIVE_INFINITY })) continue
      await this.#ask(() => this.#abort({ Bucket: bucket, Key: key, UploadId: id }, abortSignal))
    }
  }

  async close(): Promise<void> {
    this.#client.destroy()
  }

  async #abort(upload: StartedUpload, abortSignal: AbortSignal): Promise<void> {
    await this.#client.send(new this.#sdk.AbortMultipartUploadCommand(upload), { abortSignal })
  }

  async #ask<Answer>(call: () => Promise<Answer>): Promise<Answer> {
    try {
      return await call()
    } catch (error) {
      throw this.#failure(error)
    }
  }

  #failure(error: unknown): StoreError {
    return new StoreError('BUCKET_FAILED', describeS3Failure(error, this.#options), { cause: error })
  }
}

const TOO_LARGE = `The backup is larger than ${(MAX_PARTS * PART_BYTES) / 1e9} GB, which is more than one object takes.`

/** @throws StoreError `DRIVER_MISSING` with the command that installs it */
async function loadSdk(): Promise<Sdk> {
  // The library prints to stderr that later releases need Node 22, but stderr is the log.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'
  try {
    return await import('@aws-sdk/client-s3')
  } catch (error) {
    throw new StoreError(
      'DRIVER_MISSING',
      'Backups in object storage need a package that is not installed. Run: npm install @aws-sdk/client-s3',
      { cause: error },
    )
  }
}

function createClient(
  { S3Client }: Sdk,
  { endpoint, region, forcePathStyle, credentials }: S3BucketOptions,
): S3Client {
  const knownRegion = region ?? (endpoint === null ? null : 'us-east-1')
  return new S3Client({
    forcePathStyle,
    maxAttempts: ATTEMPTS,
    requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS, socketTimeout: IDLE_TIMEOUT_MS },
    // The signature covers the SHA-256 of each part; many servers do not know further checksums.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    ...(endpoint !== null && { endpoint }),
    ...(knownRegion !== null && { region: knownRegion }),
    ...(credentials !== null && { credentials }),
  })
}

/** Cuts into pieces of equal size; only the last one may be smaller. */
async function* inPartsOf(size: number, source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let part = Buffer.allocUnsafe(size)
  let filled = 0
  for await (const piece of source) {
    for (let at = 0; at < piece.byteLength; ) {
      const fitting = piece.subarray(at, at + size - filled)
      part.set(fitting, filled)
      filled += fitting.byteLength
      at += fitting.byteLength
      if (filled < size) continue
      yield part
      part = Buffer.allocUnsafe(size) // the client may hold the last one until it is sent
      filled = 0
    }
  }
  if (filled > 0) yield part.subarray(0, filled)
}
