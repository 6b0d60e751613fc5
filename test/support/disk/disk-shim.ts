import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const SOURCE = fileURLToPath(new URL('disk-shim.c', import.meta.url))
const CONTROL_BYTES = 64
const ROOM_BYTES = 1024 ** 3

/** Whether calls of a process can be looked at and made to fail here: takes a C compiler and Linux. */
export function hasDiskShim(testName: string): boolean {
  const isThere = process.platform === 'linux' && spawnSync('gcc', ['--version']).status === 0
  if (!isThere) console.log(`${testName}: skipped, there is no gcc (apt-get install gcc libc6-dev)`)
  return isThere
}

/** The compiled shim, in a directory of its own. @see disk-shim.c */
export class DiskShim implements Disposable {
  readonly directory: string
  readonly library: string

  constructor() {
    this.directory = mkdtempSync(join(roomInMemory() ?? tmpdir(), 'kora-disk-'))
    this.library = join(this.directory, 'disk-shim.so')
    const { status, stderr } = spawnSync('gcc', [
      '-shared',
      '-fPIC',
      '-O2',
      '-o',
      this.library,
      SOURCE,
      '-ldl',
    ])
    if (status !== 0) throw new Error(`The shim does not compile:\n${stderr}`)
  }

  /** Environment of a process whose treatment of the files under `prefix` is taken down. */
  recording(prefix: string, journal: string): { readonly [name: string]: string } {
    return { LD_PRELOAD: this.library, KORA_DISK_PREFIX: prefix, KORA_DISK_JOURNAL: journal }
  }

  /** Environment of a process some of whose writes to files under `prefix` are to fail. */
  failing(prefix: string, control: string): { readonly [name: string]: string } {
    return { LD_PRELOAD: this.library, KORA_DISK_PREFIX: prefix, KORA_DISK_CONTROL: control }
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}

/** What a disk would keep is simulated, so the files may lie in memory, where a sync takes no time. */
function roomInMemory(): string | null {
  try {
    const { bavail, bsize } = statfsSync('/dev/shm')
    return bavail * bsize >= ROOM_BYTES ? '/dev/shm' : null
  } catch {
    return null
  }
}

export type FailingCall = 'write' | 'sync'

/** Tells the shim, in this or another process, which call is to fail. */
export class DiskControl implements Disposable {
  readonly #file: number

  /** @param path made anew with `isNew`, which has to happen before the process starts */
  constructor(path: string, { isNew }: { isNew: boolean }) {
    this.#file = openSync(path, isNew ? 'w+' : 'r+')
    if (isNew) writeSync(this.#file, Buffer.alloc(CONTROL_BYTES), 0, CONTROL_BYTES, 0)
  }

  /**
   * Lets the `count`-th call from now on fail; 0: none. Counts from 0 again what is called.
   *
   * @param errno below 0: the process ends there, by the signal of this number
   */
  arm(call: FailingCall, count: number, errno: number): void {
    const fields = Buffer.alloc(48)
    fields.writeBigInt64LE(BigInt(count), call === 'write' ? 0 : 8)
    fields.writeBigInt64LE(BigInt(errno), 16)
    writeSync(this.#file, fields, 0, fields.length, 0)
  }

  /** Calls since `arm`. */
  counts(): { readonly failed: number; readonly writes: number; readonly syncs: number } {
    const fields = Buffer.alloc(48)
    readSync(this.#file, fields, 0, fields.length, 0)
    const [failed, writes, syncs] = [24, 32, 40].map((offset) => Number(fields.readBigInt64LE(offset)))
    return { failed: failed ?? 0, writes: writes ?? 0, syncs: syncs ?? 0 }
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
  }
}
