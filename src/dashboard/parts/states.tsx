import type { ComponentChildren, JSX } from 'preact'
import type { Loaded } from '../use-answer.ts'

export function Empty({ title, children }: { title: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children && <p class="quiet">{children}</p>}
    </div>
  )
}

/** An error, shown beside the previous content. */
export function Problem({ loaded }: { loaded: Loaded<unknown> }): JSX.Element | null {
  const { error, reload } = loaded
  if (error === null) return null
  return (
    <div class="problem-box" role="alert">
      <span>{error.message}</span>
      <button type="button" onClick={reload}>
        Try again
      </button>
    </div>
  )
}

export function Waiting({ loaded }: { loaded: Loaded<unknown> }): JSX.Element | null {
  if (loaded.answer !== null || loaded.error !== null) return null
  return <p class="quiet waiting">Reading…</p>
}

export function PageTitle({
  title,
  children,
}: {
  title: ComponentChildren
  children?: ComponentChildren
}): JSX.Element {
  return (
    <div class="page-title">
      <h1>{title}</h1>
      {children}
    </div>
  )
}
