import type { Revocation, RevocationSubject } from '../revocations.ts'

/** Revocations by their subject, in the order of their versions. @see RevocationIndex */
export class MemoryRevocations {
  readonly #bySubject = new Map<string, Revocation>()
  #lastVersion = 0

  revoke({ kind, value }: RevocationSubject, revokedAt: number): Revocation {
    const key = subjectKey({ kind, value })
    const before = this.#bySubject.get(key)?.revokedAt ?? 0
    this.#lastVersion++
    const revocation = { kind, value, revokedAt: Math.max(before, revokedAt), version: this.#lastVersion }
    this.#bySubject.delete(key) // so that it moves to the end
    this.#bySubject.set(key, revocation)
    return revocation
  }

  undo(subject: RevocationSubject): boolean {
    return this.#bySubject.delete(subjectKey(subject))
  }

  list(afterVersion: number, limit: number): Revocation[] {
    return [...this.#bySubject.values()].filter(({ version }) => version > afterVersion).slice(0, limit)
  }

  find(subjects: readonly RevocationSubject[]): Revocation[] {
    return subjects.flatMap((subject) => this.#bySubject.get(subjectKey(subject)) ?? [])
  }
}

function subjectKey({ kind, value }: RevocationSubject): string {
  return `${kind}:${value}`
}
