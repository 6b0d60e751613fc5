import { prepareRichText } from '../../src/core/record/richtext.ts'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'

/* Imported by tests that use Yjs themselves and merge without a store, whose schema would see to it. */

const schema = { version: 1, collections: { notes: { fields: { body: t.richtext() } } } }
await prepareRichText(defineSchema(schema))
