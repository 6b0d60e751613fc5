// Characters that a terminal acts upon instead of showing them: C0 and C1 controls, DEL, and marks that change the
// direction of writing. A value could use them to rewrite the lines around it.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

const SHORT_FORMS: { readonly [character: string]: string } = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** Makes text of unknown origin safe to print on a terminal: control characters show as escapes. */
export function escapeControls(text: string): string {
  return text.replace(CONTROLS, escapeControl)
}

/** The same for text of several lines, such as a stack: line feeds stay. */
export function escapeControlsInLines(text: string): string {
  return text.replace(CONTROLS, (character) => (character === '\n' ? '\n' : escapeControl(character)))
}

function escapeControl(character: string): string {
  return SHORT_FORMS[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
