import type { Runtime } from '../../core/runtime.ts'
import type { CollectionDefinition, SchemaDefinition } from '../../core/schema/types.ts'
import { runLoading } from '../append/load.ts'
import { type AppendContext, planAppend } from '../append/plan-append.ts'
import { planReplay } from '../append/plan-replay.ts'
import { ServerClock } from '../append/server-clock.ts'
import type { PastEnd } from '../compaction/past-ends.ts'
import { addFormerNodes } from '../former-nodes.ts'
import type { AppendRequest, AppendResult, ServerWrite } from '../store.ts'
import { MemoryBlobs } from './memory-blobs.ts'
import { MemoryLog, type MemoryRecord } from './memory-log.ts'
import { MemoryRevocations } from './memory-revocations.ts'
import { NodeRegistry } from './node-registry.ts'

/** The data of a store in memory, for its parts. */
export class MemoryCore {
  readonly runtime: Runtime
  readonly clock: ServerClock
  readonly nodes: NodeRegistry
  readonly revocations = new MemoryRevocations()
  /** Replaced by a restore. */
  log: MemoryLog
  /** Time of the last restore that replaced the log, ms since the epoch. */
  logReplacedAt: number | null = null
  formerNodeIds: ReadonlySet<string> = new Set()
  schema: SchemaDefinition | null = null
  pastEnds: readonly PastEnd[] = []
  readonly #chosenNodeId: string | undefined

  constructor({ runtime, chosenNodeId }: { runtime: Runtime; chosenNodeId: string | undefined }) {
    this.runtime = runtime
    this.#chosenNodeId = chosenNodeId
    this.log = new MemoryLog(this.#newNodeId(), new MemoryBlobs())
    this.clock = new ServerClock(this.serverNodeId, runtime)
    this.nodes = new NodeRegistry(this)
  }

  get serverNodeId(): string {
    return this.log.serverNodeId
  }

  /**
   * An empty log to replace the present one: under a new server node, numbered from 1. A node id that the
   * application has chosen stays and its numbers go on, because clients may have operations with the numbers
   * already given.
   *
   * @param base the delivery sequence before the first entry
   */
  emptyLog(base = 0): MemoryLog {
    const serverNumbers = this.#chosenNodeId === undefined ? { last: 0 } : this.log.serverNumbers
    return new MemoryLog(this.#newNodeId(), new MemoryBlobs(this.blobs), { base, serverNumbers })
  }

  replaceLog(log: MemoryLog): void {
    const former = this.serverNodeId
    this.log = log
    this.logReplacedAt = this.runtime.now()
    this.clock.serveAs(log.serverNodeId)
    this.noteFormerNodes([former])
  }

  noteFormerNodes(nodeIds: readonly string[]): void {
    this.formerNodeIds = addFormerNodes(this.formerNodeIds, nodeIds, this.serverNodeId)
  }

  #newNodeId(): string {
    return this.#chosenNodeId ?? this.runtime.uuid()
  }

  /** The blob index of the present log. */
  get blobs(): MemoryBlobs {
    return this.log.blobs
  }

  collection(name: string): CollectionDefinition | null {
    if (this.schema === null || !Object.hasOwn(this.schema.collections, name)) return null
    return this.schema.collections[name] ?? null
  }

  /** Plans a batch and appends it to a log: the one of the store, or one that will replace it. */
  append(
    requests: readonly (AppendRequest | ServerWrite)[],
    log: MemoryLog = this.log,
  ): readonly AppendResult[] {
    const steps = planAppend(requests, this.#contextOf(log))
    return log.commit(runLoading(steps, (request) => log.load(request)))
  }

  /** Replays a record from its log: the one of the store, or one that will replace it. */
  replay(record: MemoryRecord, log: MemoryLog = this.log): void {
    const replay = planReplay(record, log.historyOf(record), this.#contextOf(log))
    log.commit({ entries: replay.entries, records: [replay.record], vector: new Map(), results: [] })
  }

  /** Answers the questions of the append algorithm from the log of the store. */
  get context(): AppendContext {
    return this.#contextOf(this.log)
  }

  /** Answers the questions of the append algorithm from a log. */
  #contextOf(log: MemoryLog): AppendContext {
    return {
      serverNodeId: log.serverNodeId,
      clock: this.clock,
      isServerNode: (nodeId) => nodeId === log.serverNodeId || this.formerNodeIds.has(nodeId),
      schema: this.schema,
      collection: (name) => this.collection(name),
      trackedFields: (collection) => log.tracked.namesOf(collection),
    }
  }
}
