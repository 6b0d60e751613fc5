import { useContext, useEffect, useState } from 'preact/hooks'
import { isAborted, type Parameters } from './api-client.ts'
import { ClientContext } from './client-context.ts'

export interface Loaded<Answer> {
  /** The last answer, kept while the next one is awaited or has failed. */
  readonly answer: Answer | null
  readonly error: Error | null
  readonly isLoading: boolean
  reload(): void
}

/**
 * Requests an answer of the server for as long as it is shown: at once or, in the background, when the page is
 * visible.
 *
 * @param refreshMs how often it is requested again while the page is visible; 0: never
 */
export function useAnswer<Answer>(name: string, parameters: Parameters, refreshMs = 0): Loaded<Answer> {
  const client = useContext(ClientContext)
  const key = JSON.stringify([name, parameters])
  const [state, setState] = useState<{ key: string; answer: Answer | null; error: Error | null }>({
    key,
    answer: null,
    error: null,
  })
  const [isLoading, setIsLoading] = useState(true)
  const [turn, setTurn] = useState(0)

  // the key stands for name and parameters
  useEffect(() => {
    const controller = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const load = async (): Promise<void> => {
      await untilVisible(controller.signal)
      if (controller.signal.aborted) return
      setIsLoading(true)
      try {
        const answer = await client.get<Answer>(name, parameters, controller.signal)
        setState({ key, answer, error: null })
      } catch (error) {
        if (isAborted(error) || controller.signal.aborted) return
        setState((before) => ({
          key,
          answer: before.key === key ? before.answer : null,
          error: error instanceof Error ? error : new Error(String(error)),
        }))
      }
      setIsLoading(false)
      if (refreshMs > 0 && !controller.signal.aborted) timer = setTimeout(() => void load(), refreshMs)
    }
    void load()
    return () => {
      controller.abort()
      clearTimeout(timer)
    }
  }, [client, key, refreshMs, turn])

  return { ...state, isLoading, reload: () => setTurn((before) => before + 1) }
}

/** Resolves once the page is visible, or when it is aborted. */
function untilVisible(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (document.hidden && !signal.aborted) return
      document.removeEventListener('visibilitychange', look)
      signal.removeEventListener('abort', look)
      resolve()
    }
    document.addEventListener('visibilitychange', look)
    signal.addEventListener('abort', look)
    look()
  })
}
