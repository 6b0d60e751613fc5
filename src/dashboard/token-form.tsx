import type { JSX } from 'preact'
import { useState } from 'preact/hooks'

export interface TokenFormProperties {
  readonly problem: string | null
  readonly onToken: (token: string) => Promise<void>
}

/** Asks for the admin token. It is kept in memory only: closing or reloading the page forgets it. */
export function TokenForm({ problem, onToken }: TokenFormProperties): JSX.Element {
  const [token, setToken] = useState('')
  const [isWaiting, setIsWaiting] = useState(false)

  const submit = async (event: Event): Promise<void> => {
    event.preventDefault()
    if (token.trim() === '' || isWaiting) return
    setIsWaiting(true)
    await onToken(token.trim())
    setIsWaiting(false)
  }

  return (
    <form class="gate" onSubmit={(event) => void submit(event)}>
      <h1>kora-server</h1>
      <label for="token">Admin token</label>
      <input
        id="token"
        type="password"
        autocomplete="off"
        spellcheck={false}
        autofocus
        value={token}
        aria-invalid={problem !== null}
        aria-describedby="token-help"
        onInput={(event) => setToken(event.currentTarget.value)}
      />
      {problem !== null && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <button type="submit" class="primary" disabled={token.trim() === '' || isWaiting}>
        {isWaiting ? 'Asking…' : 'Open the dashboard'}
      </button>
      <p id="token-help" class="quiet">
        The admin token is in the configuration as <code>admin.adminToken</code>, or in the environment as{' '}
        <code>KORA_ADMIN_TOKEN</code>. This page keeps it until you close or reload the page.
      </p>
    </form>
  )
}
