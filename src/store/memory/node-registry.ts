import { isGuestEntry, type VersionVector } from '../../core/version-vector.ts'
import { mergeRegistration } from '../merge-registration.ts'
import {
  type HandshakeVectorQuery,
  type NodeCondition,
  type NodeRegistration,
  type NodeUpdate,
  OF_FORMER_LOG,
} from '../node-index.ts'
import type { ListedNode } from '../restore.ts'
import type { MemoryCore } from './memory-core.ts'

/** The nodes that have connected to this server, and the version vector, which belongs to the log. */
export class NodeRegistry {
  readonly #core: MemoryCore
  readonly #nodes = new Map<string, NodeRegistration>()

  constructor(core: MemoryCore) {
    this.#core = core
  }

  vector(): VersionVector {
    return new Map([...this.#core.log.vector].filter(([entry]) => !isGuestEntry(entry)))
  }

  handshakeVector({ nodeIds, entry, userId, maxOthers }: HandshakeVectorQuery): VersionVector {
    const { log } = this.#core
    const found = new Map<string, number>()
    for (const nodeId of nodeIds) {
      const sequenceNumber = log.maxSequenceOf(nodeId)
      if (sequenceNumber > 0) found.set(nodeId, sequenceNumber)
    }
    if (entry !== null) found.set(entry, log.vector.get(entry) ?? 0)
    let others = 0
    for (const [nodeId, sequenceNumber] of log.vector) {
      if (others >= maxOthers) break
      const owner = this.#nodes.get(nodeId)?.userId ?? null
      if (found.has(nodeId) || isGuestEntry(nodeId)) continue
      if (owner !== null && owner !== userId) continue
      found.set(nodeId, sequenceNumber)
      others++
    }
    return found
  }

  find(nodeId: string): NodeRegistration | undefined {
    return this.#nodes.get(nodeId)
  }

  register(node: NodeUpdate, onlyWhile?: NodeCondition): NodeRegistration {
    const before = this.find(node.nodeId)
    const after = mergeRegistration(before, node, onlyWhile)
    if (after === before) return before
    this.#nodes.set(node.nodeId, after)
    return after
  }

  /** @see RestorableStore.listNodes */
  list(after: number, limit: number): ListedNode[] {
    const { vector } = this.#core.log
    const nodeIds = [...new Set([...this.#nodes.keys(), ...vector.keys()])]
    return nodeIds.slice(after, after + limit).map((nodeId, index) => ({
      position: after + index + 1,
      nodeId,
      userId: this.find(nodeId)?.userId ?? null,
      maxSequence: vector.get(nodeId) ?? 0,
    }))
  }

  /** Forgets the positions of nodes in a log that no longer exists. */
  forgetPositions(): void {
    for (const node of this.#nodes.values()) {
      const scopeEra = node.scopeEra === null ? null : OF_FORMER_LOG
      this.#nodes.set(node.nodeId, { ...node, scopeEra, legacyPosition: 0 })
    }
  }
}
