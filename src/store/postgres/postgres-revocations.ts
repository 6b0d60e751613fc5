import type { BackupRevocation } from '../backup/backup-format.ts'
import { REVOKED_TOPIC } from '../cluster-bus.ts'
import { isPossibleSubject, type Revocation, type RevocationSubject } from '../revocations.ts'
import type { Announcements } from './announcements.ts'
import type { PostgresDatabase, Transaction } from './database.ts'

type Row = [kind: RevocationSubject['kind'], value: string, revokedAt: number, version: number]

/** The rows of `_kora_revocations`. @see RevocationIndex */
export class PostgresRevocations {
  readonly #db: PostgresDatabase
  readonly #announcements: Announcements

  constructor(db: PostgresDatabase, announcements: Announcements) {
    this.#db = db
    this.#announcements = announcements
  }

  async revoke(subject: RevocationSubject, revokedAt: number): Promise<Revocation> {
    const [revocation] = await this.#db.transaction(async (transaction) => {
      await this.#announcements.publishIn(transaction, REVOKED_TOPIC, '')
      return writeRevocations(transaction, [{ ...subject, revokedAt }])
    })
    if (revocation === undefined) throw new Error('A revocation was not stored')
    return revocation
  }

  async undo(subject: RevocationSubject): Promise<boolean> {
    if (!isPossibleSubject(subject)) return false
    const rows = await this.#db.rows<[number]>(
      'DELETE FROM {revocations} WHERE kind = $1 AND value = $2 RETURNING version',
      [subject.kind, subject.value],
    )
    return rows.length > 0
  }

  async list(afterVersion: number, limit: number): Promise<Revocation[]> {
    const rows = await this.#db.rows<Row>(
      'SELECT kind, value, revoked_at, version FROM {revocations} WHERE version > $1 ORDER BY version LIMIT $2',
      [afterVersion, limit],
    )
    return rows.map(toRevocation)
  }

  async find(subjects: readonly RevocationSubject[]): Promise<Revocation[]> {
    const possible = subjects.filter(isPossibleSubject)
    const rows = await this.#db.rows<Row>(
      `SELECT r.kind, r.value, r.revoked_at, r.version FROM {revocations} r
        JOIN unnest($1::text[], $2::text[]) AS s (kind, value) ON r.kind = s.kind AND r.value = s.value`,
      [possible.map(({ kind }) => kind), possible.map(({ value }) => value)],
    )
    return rows.map(toRevocation)
  }
}

/** Writes revocations, one transaction after the other: a reader of a version has read all versions below it. */
export async function writeRevocations(
  transaction: Transaction,
  revocations: readonly BackupRevocation[],
): Promise<Revocation[]> {
  if (revocations.length === 0) return []
  await transaction.rows('LOCK TABLE {revocations} IN SHARE ROW EXCLUSIVE MODE')
  const rows = await transaction.rows<Row>(
    `INSERT INTO {revocations} AS r (kind, value, revoked_at)
      SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
      ON CONFLICT (kind, value) DO UPDATE SET
        revoked_at = greatest(r.revoked_at, excluded.revoked_at), version = DEFAULT
      RETURNING kind, value, revoked_at, version`,
    [
      revocations.map(({ kind }) => kind),
      revocations.map(({ value }) => value),
      revocations.map(({ revokedAt }) => revokedAt),
    ],
  )
  return rows.map(toRevocation)
}

function toRevocation([kind, value, revokedAt, version]: Row): Revocation {
  return { kind, value, revokedAt, version }
}
