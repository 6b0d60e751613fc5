import type { Operation } from '../../core/operation.ts'
import { planReplay, type ReplayedRecord } from '../append/plan-replay.ts'
import type { Transaction } from './database.ts'
import type { PostgresCore } from './postgres-core.ts'

export interface ReplayedRecords {
  readonly collection: string
  /** Locked rows. */
  readonly rows: readonly Omit<ReplayedRecord, 'collection'>[]
  /** What each of them is folded from, by its number. */
  readonly histories: ReadonlyMap<number, readonly Operation[]>
  /** The settings inside the transaction. Default: those of the server. */
  readonly settings?: PostgresCore['settings']
}

/** Replays records of a collection and writes them. */
export async function replayRecords(
  core: PostgresCore,
  transaction: Transaction,
  { collection, rows, histories, settings = core.settings }: ReplayedRecords,
): Promise<void> {
  if (rows.length === 0) return
  const context = core.contextOf(settings)
  const replays = rows.map((row) => planReplay({ collection, ...row }, histories.get(row.ref) ?? [], context))
  const names = {
    nodes: await core.nodeNames.find([settings.serverNodeId], transaction),
    collections: await core.collections.find([collection], transaction),
  }
  const plan = {
    entries: replays.flatMap(({ entries }) => entries),
    records: replays.map(({ record }) => record),
    vector: new Map(),
    results: [],
  }
  await core.write(transaction, plan, { names, settings })
}
