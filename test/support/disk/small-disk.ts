import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statfsSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'

const CHUNK_BYTES = 256 * 1024

/** Whether this process may mount file systems. */
export function canMount(testName: string): boolean {
  const directory = mkdtempSync(join(tmpdir(), 'kora-mount-'))
  const may = run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory])
  if (may) run('umount', [directory])
  else console.log(`${testName}: skipped, this user may not mount a disk`)
  rmSync(directory, { recursive: true, force: true })
  return may
}

/** A disk of its own: ext4 in a file where the machine has loop devices, else in memory. */
export class SmallDisk implements Disposable {
  readonly path: string
  /** Whether it can fail as a disk does: only a real file system in a file can. */
  readonly canFail: boolean
  readonly #directory: string
  readonly #image: string
  readonly #ballast: string

  constructor(megabytes: number) {
    this.#directory = mkdtempSync(join(tmpdir(), 'kora-disk-'))
    this.path = join(this.#directory, 'disk')
    this.#ballast = join(this.path, 'ballast')
    mkdirSync(this.path)
    chmodSync(this.#directory, 0o755) // PostgreSQL reaches its files as a user of its own
    this.#image = join(this.#directory, 'image')
    writeFileSync(this.#image, '')
    truncateSync(this.#image, megabytes * 1024 * 1024)
    this.canFail = run('mkfs.ext4', ['-q', '-m', '0', this.#image]) && this.#mountImage()
    if (!this.canFail && !run('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', this.path])) {
      throw new Error('The disk cannot be mounted')
    }
  }

  /** What is free. */
  get roomBytes(): number {
    const { bavail, bsize } = statfsSync(this.path)
    return bavail * bsize
  }

  /** Writes a file of no use, so that this is what stays free. */
  fill(bytesLeft: number): void {
    for (let bytes = this.roomBytes - bytesLeft; bytes > 0; bytes -= CHUNK_BYTES) {
      writeFileSync(this.#ballast, Buffer.alloc(Math.min(bytes, CHUNK_BYTES)), { flag: 'a' })
    }
  }

  free(): void {
    rmSync(this.#ballast)
  }

  set isReadOnly(isReadOnly: boolean) {
    if (!run('mount', ['-o', `remount,${isReadOnly ? 'ro' : 'rw'}`, this.path])) {
      throw new Error(`The disk cannot be remounted ${isReadOnly ? 'read only' : 'to be written'}`)
    }
  }

  /**
   * Tells the kernel of an error in the file system, which then takes no write any more, whoever has
   * files open: what a machine does whose disk fails.
   */
  fail(): void {
    const device = spawnSync('findmnt', ['-n', '-o', 'SOURCE', this.path]).stdout.toString().trim()
    writeFileSync(join('/sys/fs/ext4', basename(device), 'trigger_fs_error'), '1')
  }

  /** Unmounts it, has its journal replayed and its files checked, and mounts it again. */
  repair(): void {
    run('umount', [this.path])
    run('e2fsck', ['-fy', this.#image])
    if (!this.#mountImage()) throw new Error('The disk cannot be mounted again')
  }

  #mountImage(): boolean {
    return run('mount', ['-o', 'loop,errors=remount-ro', this.#image, this.path])
  }

  [Symbol.dispose](): void {
    run('umount', ['-l', this.path])
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

function run(command: string, args: readonly string[]): boolean {
  return spawnSync(command, args).status === 0
}
