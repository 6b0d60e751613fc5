import type { BackupTarget } from './backup-target.ts'
import { S3Bucket, type S3BucketOptions } from './s3-bucket.ts'
import type { WrittenBackup } from './write-backup-file.ts'

/** Keeps backups as objects in a bucket, under keys with a common prefix. */
export class BucketTarget implements BackupTarget {
  readonly label: string
  readonly #bucket: S3Bucket
  readonly #prefix: string

  private constructor(bucket: S3Bucket, prefix: string) {
    this.#bucket = bucket
    this.#prefix = prefix
    this.label = bucket.urlOf(prefix)
  }

  /** @throws StoreError `DRIVER_MISSING` when the client library is not installed */
  static async open(options: S3BucketOptions, prefix: string): Promise<BucketTarget> {
    return new BucketTarget(await S3Bucket.open(options), prefix)
  }

  async list(signal?: AbortSignal): Promise<readonly string[]> {
    return (await this.#bucket.list(this.#prefix, signal)).map((key) => key.slice(this.#prefix.length))
  }

  write(name: string, source: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<WrittenBackup> {
    return this.#bucket.write(this.#prefix + name, source, signal)
  }

  remove(name: string, signal: AbortSignal): Promise<void> {
    return this.#bucket.remove(this.#prefix + name, signal)
  }

  async removeUnfinished(
    { isBackup, olderThan }: Parameters<BackupTarget['removeUnfinished']>[0],
    signal: AbortSignal,
  ): Promise<void> {
    await this.#bucket.abortUploads(
      this.#prefix,
      ({ key, startedAt }) => startedAt < olderThan && isBackup(key.slice(this.#prefix.length)),
      signal,
    )
  }

  locate(name: string): string {
    return this.label + name
  }

  close(): Promise<void> {
    return this.#bucket.close()
  }
}
