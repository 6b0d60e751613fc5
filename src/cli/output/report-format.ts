import { Option } from 'commander'

export type ReportFormat = 'text' | 'json'

/** `--format` of the commands that print a report, for people or for programs. */
export function reportFormatOption(): Option {
  return new Option('-f, --format <format>', 'output').choices(['text', 'json']).default('text')
}

/** Indented JSON that ends in a line break. */
export function toJsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
