import { randomBytes } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { expect, onTestFinished, test } from 'vitest'
import { BackupSchedule } from '../../../src/store/backup/backup-schedule.ts'
import { BucketTarget } from '../../../src/store/backup/bucket-target.ts'
import { verifyBackup } from '../../../src/store/backup/read-backup.ts'
import { S3Bucket, type S3BucketOptions } from '../../../src/store/backup/s3-bucket.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { openS3Server, type S3Server } from '../../support/s3-server.ts'
import { simulatedRuntime } from '../../support/simulated-runtime.ts'
import { recordingLogger } from '../../support/tokens.ts'

const HOUR_MS = 60 * 60 * 1000
const MEGABYTE = Buffer.alloc(1024 * 1024, 'x')

function optionsFor({ endpoint, accessKeyId, secretAccessKey }: S3Server): S3BucketOptions {
  return {
    bucket: 'backups',
    endpoint,
    region: null,
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  }
}

async function openBucket(s3: S3Server, changes: Partial<S3BucketOptions> = {}): Promise<S3Bucket> {
  const bucket = await S3Bucket.open({ ...optionsFor(s3), ...changes })
  onTestFinished(() => bucket.close())
  return bucket
}

async function* pieces(count: number, then: () => void = () => {}): AsyncGenerator<Buffer> {
  for (let index = 0; index < count; index++) yield MEGABYTE
  then()
}

test('an object larger than a part is uploaded in parts, and reads back as it was', async () => {
  await using s3 = await openS3Server()
  const bucket = await openBucket(s3)
  const requests: string[] = []
  s3.onRequest = ({ method, url }) => void requests.push(`${method} ${url.replace(/\d+$/, '')}`)
  const tail = randomBytes(1000)

  const { bytes } = await bucket.write(
    'kora/a b+ü.backup',
    (async function* () {
      yield* pieces(9)
      yield tail
    })(),
  )

  expect(bytes).toBe(9 * MEGABYTE.length + 1000)
  expect(requests.filter((request) => request.includes('partNumber='))).toHaveLength(2)
  expect(s3.uploads.size).toBe(0)
  const object = await bucket.find('kora/a b+ü.backup')
  expect(object?.bytes).toBe(bytes)
  if (object === null) return
  const read = await buffer(bucket.read('kora/a b+ü.backup', object))
  expect(read.equals(Buffer.concat([...Array(9).fill(MEGABYTE), tail]))).toBe(true)
  expect(await bucket.find('kora/a')).toBeNull()
})

test('an upload that its source, the network or the server ends leaves no object and no parts', async () => {
  await using s3 = await openS3Server()
  const bucket = await openBucket(s3)
  const failing = pieces(10, () => {
    throw new Error('the log was replaced')
  })
  await expect(bucket.write('a', failing)).rejects.toThrow('the log was replaced')

  s3.onRequest = ({ url }) => (url.includes('partNumber=2') ? 'cut' : undefined)
  await expect(bucket.write('a', pieces(10))).rejects.toMatchObject({
    code: 'BUCKET_FAILED',
    message: expect.stringMatching(/^Bucket "backups" at http:\S+ cannot be reached \(E\w+\)\./),
  })

  const stop = new AbortController()
  s3.onRequest = ({ url }) => void (url.includes('partNumber=2') && stop.abort())
  await expect(bucket.write('a', pieces(17), stop.signal)).rejects.toThrow()

  expect([...s3.objects.keys()]).toEqual([])
  expect(s3.uploads.size).toBe(0)
})

test('a request that fails once is sent again', async () => {
  await using s3 = await openS3Server()
  const bucket = await openBucket(s3)
  const fates: ('cut' | number)[] = ['cut', 503]
  s3.onRequest = ({ url }) => (url.includes('partNumber=1') ? fates.pop() : undefined)

  await bucket.write('a', pieces(1))

  expect(fates).toEqual([])
  expect(s3.objects.get('a')?.length).toBe(MEGABYTE.length)
})

test('what the storage refuses is told with the name of the bucket, what to do, and no secret', async () => {
  await using s3 = await openS3Server()
  const { accessKeyId } = s3
  const failures: readonly [Partial<S3BucketOptions>, RegExp][] = [
    [{ bucket: 'backup' }, /^Bucket "backup" at http:\S+ does not exist\. Create it, or correct/],
    [
      { credentials: { accessKeyId, secretAccessKey: 'canary-wrong-secret' } },
      /^Bucket "backups" at \S+ does not accept the credentials \(SignatureDoesNotMatch\)\. Check the access key/,
    ],
    [
      { credentials: { accessKeyId: 'nobody', secretAccessKey: 'canary-wrong-secret' } },
      /does not accept the credentials \(InvalidAccessKeyId\)/,
    ],
    [
      { endpoint: 'http://127.0.0.1:9' },
      /^Bucket "backups" at http:\S+ cannot be reached \(ECONNREFUSED\)\./,
    ],
  ]
  for (const [changes, message] of failures) {
    const bucket = await openBucket(s3, changes)
    for (const attempt of [() => bucket.list(''), () => bucket.write('a', pieces(1))]) {
      const error: Error = await attempt().then(
        () => expect.unreachable(),
        (reason) => reason,
      )
      expect(error).toMatchObject({ code: 'BUCKET_FAILED', message: expect.stringMatching(message) })
      expect(error.message).not.toContain('canary')
    }
  }
})

test('backups are written to a bucket in their interval, and the oldest goes', async () => {
  await using s3 = await openS3Server()
  const runtime = simulatedRuntime()
  const logger = recordingLogger()
  const store = new MemoryServerStore({ runtime })
  await appendAll(store, [new OperationAuthor('a').insert('r1', { title: 'x' })])
  const target = await BucketTarget.open(optionsFor(s3), 'kora/')
  const schedule = new BackupSchedule({
    store,
    runtime,
    logger,
    target,
    everyMs: 3 * HOUR_MS,
    keep: 3,
  })
  s3.objects.set('kora/notes.txt', Buffer.from('mine'))
  s3.uploads.set('left-behind', {
    key: 'kora/kora-2020-01-01T00-00-00Z.backup',
    startedAt: new Date(0),
    parts: new Map(),
  })

  schedule.start()
  for (let hour = 0; hour < 16; hour++) {
    await runtime.advance(hour === 0 ? 0 : HOUR_MS)
    await schedule.settled()
  }
  await schedule.stop()

  const names = [...s3.objects.keys()].sort()
  expect(names).toHaveLength(4)
  expect(names.pop()).toBe('kora/notes.txt')
  expect(names[0]).toMatch(/^kora\/kora-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.backup$/)
  expect(logger.lines.filter(({ message }) => message === 'backup written')).toHaveLength(6)
  expect(s3.uploads.size).toBe(0)
  const bucket = await openBucket(s3)
  const object = await bucket.find(names[2] ?? '')
  if (object === null) expect.unreachable()
  else expect(await verifyBackup(bucket.read(names[2] ?? '', object))).toMatchObject({ operations: 1 })
})

const REQUESTS_OF_A_BACKUP: readonly [string, (request: { method: string; url: string }) => boolean][] = [
  ['the list of backups', ({ url }) => url.includes('list-type=2')],
  ['a part', ({ url }) => url.includes('partNumber=1')],
  ['the removal of the oldest', ({ method, url }) => method === 'DELETE' && !url.includes('uploadId')],
  ['the list of uploads', ({ method, url }) => method === 'GET' && url.includes('uploads')],
  ['the removal of an upload', ({ method, url }) => method === 'DELETE' && url.includes('left-behind')],
]

test.each(REQUESTS_OF_A_BACKUP)(
  'a bucket that does not answer holds up no stop: %s',
  async (_, isUnanswered) => {
    await using s3 = await openS3Server()
    const runtime = simulatedRuntime()
    const logger = recordingLogger()
    const target = await BucketTarget.open(optionsFor(s3), 'kora/')
    const store = new MemoryServerStore({ runtime })
    await appendAll(store, [new OperationAuthor('phone').insert('r', { title: 'x' })])
    const schedule = new BackupSchedule({ store, runtime, logger, target, everyMs: HOUR_MS, keep: 1 })
    const old = 'kora/kora-2020-01-01T00-00-00Z.backup'
    s3.objects.set(old, Buffer.from('old'))
    s3.uploads.set('left-behind', { key: old, startedAt: new Date(0), parts: new Map() })
    const asked = new Promise<void>((resolve) => {
      s3.onRequest = (request) => {
        if (!isUnanswered(request)) return
        resolve()
        return 'silent'
      }
    })

    schedule.start()
    await runtime.advance(0)
    await asked
    await schedule.stop()

    expect(logger.lines.filter(({ message }) => message !== 'backup written')).toEqual([])
    expect([...s3.uploads.keys()].filter((id) => id !== 'left-behind')).toEqual([])
  },
)
