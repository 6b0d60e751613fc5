import type { TestDatabase } from './postgres.ts'

/** As when a replica takes over to which the newest operations have not been sent. */
export async function loseAfter(database: TestDatabase, deliverySequence: number): Promise<void> {
  await database.query('DELETE FROM _kora_operations WHERE seq > $1', [deliverySequence])
  await database.query(
    'DELETE FROM _kora_records r WHERE NOT EXISTS (SELECT FROM _kora_operations o WHERE o.record = r.id)',
  )
  await database.query(
    `UPDATE _kora_nodes n SET max_sequence =
      coalesce((SELECT max(sequence_number) FROM _kora_operations o WHERE o.node = n.id), 0)`,
  )
  await database.query('UPDATE _kora_counters SET delivery_sequence = $1', [deliverySequence])
}

/** Those of the stores: as when the host that they led to is gone. */
export async function endConnections(database: TestDatabase): Promise<void> {
  await database.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid()`,
  )
}

/** As when it has been sent every operation, and has not been told of the fields that the log is indexed by. */
export async function loseTracking(database: { query(text: string): Promise<unknown> }): Promise<void> {
  await database.query('DELETE FROM _kora_scope')
  await database.query('DELETE FROM _kora_tracked')
  await database.query('UPDATE _kora_operations SET scope = NULL')
  await database.query('UPDATE _kora_counters SET epoch = 0')
}
