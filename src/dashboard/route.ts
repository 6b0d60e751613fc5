import { useEffect, useState } from 'preact/hooks'

/** The place within the page, from the part of the address that never reaches a server. */
export interface Route {
  readonly path: readonly string[]
  readonly parameters: URLSearchParams
}

/** The present route; renders again when the address changes. */
export function useRoute(): Route {
  const [hash, setHash] = useState(location.hash)
  useEffect(() => {
    const follow = (): void => setHash(location.hash)
    addEventListener('hashchange', follow)
    return () => removeEventListener('hashchange', follow)
  }, [])
  return parseHash(hash)
}

/** The address of a place in the page, for links and `navigate`. */
export function href(path: readonly string[], parameters: { readonly [name: string]: string } = {}): string {
  const query = new URLSearchParams(parameters).toString()
  return `#/${path.map(encodeURIComponent).join('/')}${query === '' ? '' : `?${query}`}`
}

export function navigate(address: string): void {
  location.hash = address
}

function parseHash(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s, 2)
  return {
    path: path
      .split('/')
      .filter((part) => part !== '')
      .map(decodePart),
    parameters: new URLSearchParams(query),
  }
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part // typed by hand
  }
}
