/**
 * True for standard base64 with padding, which every decoder accepts. Judged by alphabet and length, without
 * decoding.
 */
export function isBase64(text: string): boolean {
  if (text.length % 4 !== 0) return false
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  // Searching for a foreign character never backtracks, however long the text is.
  return !/[^A-Za-z0-9+/]/.test(padding === 0 ? text : text.slice(0, -padding))
}
