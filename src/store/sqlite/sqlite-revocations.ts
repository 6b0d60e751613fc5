import type { Revocation, RevocationSubject } from '../revocations.ts'
import { LIMIT, type SqliteDatabase } from './driver.ts'

/** The rows of `_kora_revocations`. @see RevocationIndex */
export class SqliteRevocations {
  readonly #statements: ReturnType<typeof prepareStatements>

  constructor(db: SqliteDatabase) {
    this.#statements = prepareStatements(db)
  }

  /** Call it inside a write transaction: the version is then the next one that becomes visible. */
  revoke({ kind, value }: RevocationSubject, revokedAt: number): Revocation {
    const before = this.#statements.find.get(kind, value)?.revokedAt ?? 0
    this.#statements.remove.run(kind, value)
    const after = Math.max(before, revokedAt)
    const { lastInsertRowid } = this.#statements.insert.run(kind, value, after)
    return { kind, value, revokedAt: after, version: Number(lastInsertRowid) }
  }

  undo({ kind, value }: RevocationSubject): boolean {
    return this.#statements.remove.run(kind, value).changes > 0
  }

  list(afterVersion: number, limit: number): Revocation[] {
    return this.#statements.list.all(afterVersion, limit)
  }

  find(subjects: readonly RevocationSubject[]): Revocation[] {
    return subjects.flatMap(({ kind, value }) => this.#statements.find.get(kind, value) ?? [])
  }
}

function prepareStatements(db: SqliteDatabase) {
  const columns = 'kind, value, revoked_at AS revokedAt, version'
  return {
    find: db.prepare<[string, string], Revocation>(
      `SELECT ${columns} FROM _kora_revocations WHERE kind = ? AND value = ?`,
    ),
    list: db.prepare<[number, number], Revocation>(
      `SELECT ${columns} FROM _kora_revocations WHERE version > ? ORDER BY version ${LIMIT}`,
    ),
    insert: db.prepare('INSERT INTO _kora_revocations (kind, value, revoked_at) VALUES (?, ?, ?)'),
    remove: db.prepare('DELETE FROM _kora_revocations WHERE kind = ? AND value = ?'),
  }
}
