import type { BlobRef } from '../blob-ref.ts'
import { SchemaError } from '../errors.ts'
import type { JsonValue } from '../operation.ts'
import type { FieldDescriptor, FieldKind, MergeStrategy } from './types.ts'

/** Whether a record must, may, or may not be given a value for a field. */
export type Presence = 'required' | 'optional' | 'defaulted' | 'auto'

declare const valueType: unique symbol
declare const presenceType: unique symbol

/** A field of any kind. */
export type AnyField = FieldBuilder<FieldKind, unknown, Presence>

/** Field → builder, as `collections.x.fields` and `t.object` take them. */
export type FieldBuilders = { readonly [field: string]: AnyField }

/** The JavaScript type of a field's values. */
export type ValueOf<Field> = Field extends { readonly [valueType]: infer Value } ? Value : never

/** The presence of a field. */
export type PresenceOf<Field> = Field extends { readonly [presenceType]: infer Has } ? Has : never

/** Describes one field. Immutable: every modifier returns a new builder. */
export class FieldBuilder<Kind extends FieldKind, Value, Has extends Presence = 'required'> {
  declare readonly [valueType]: Value
  declare readonly [presenceType]: Has
  readonly #descriptor: FieldDescriptor

  constructor(descriptor: FieldDescriptor & { readonly kind: Kind }) {
    this.#descriptor = descriptor
  }

  /** Records need not have the field. */
  optional(): FieldBuilder<Kind, Value, 'optional'> {
    return new FieldBuilder(this.changed({ required: false }))
  }

  /** Records that lack the field show this value; `null` is a default, too. */
  default(value: Value | null): FieldBuilder<Kind, Value, 'defaulted'> {
    return new FieldBuilder(this.changed(withDefault(value)))
  }

  /** Clients fill the field themselves, timestamps with the present time, and refuse other values. */
  auto(): FieldBuilder<Kind, Value, 'auto'> {
    return new FieldBuilder(this.changed(AUTO))
  }

  /** Sets how concurrent changes of the field are merged. */
  merge(mergeStrategy: MergeStrategy): FieldBuilder<Kind, Value, Has> {
    return new FieldBuilder(this.changed({ mergeStrategy }))
  }

  /** The field as it appears in a `SchemaDefinition`. */
  toDescriptor(): FieldDescriptor {
    return { ...this.#descriptor }
  }

  /** The descriptor with some properties changed, for the builder that a modifier returns. */
  protected changed(changes: Partial<FieldDescriptor>): FieldDescriptor & { readonly kind: Kind } {
    // The kind is the one given to the constructor, because no modifier changes it.
    return { ...this.#descriptor, ...changes } as FieldDescriptor & { readonly kind: Kind }
  }
}

/** A field with a fixed set of values, between which transitions may be restricted. */
export class EnumFieldBuilder<Value extends string, Has extends Presence = 'required'> extends FieldBuilder<
  'enum',
  Value,
  Has
> {
  override optional(): EnumFieldBuilder<Value, 'optional'> {
    return new EnumFieldBuilder(this.changed({ required: false }))
  }

  override default(value: Value | null): EnumFieldBuilder<Value, 'defaulted'> {
    return new EnumFieldBuilder(this.changed(withDefault(value)))
  }

  override auto(): EnumFieldBuilder<Value, 'auto'> {
    return new EnumFieldBuilder(this.changed(AUTO))
  }

  override merge(mergeStrategy: MergeStrategy): EnumFieldBuilder<Value, Has> {
    return new EnumFieldBuilder(this.changed({ mergeStrategy }))
  }

  /**
   * Restricts which value may follow which.
   *
   * @param transitions value → the values that may follow; a value that is not listed is final
   * @throws SchemaError `SCHEMA_VALIDATION` when it names a value that the enum does not have
   */
  transitions(transitions: { readonly [From in Value]?: readonly Value[] }): EnumFieldBuilder<Value, Has> {
    const values = this.toDescriptor().enumValues ?? []
    const entries = Object.entries(transitions) as [string, readonly string[]][] // keys and items are Value
    for (const state of entries.flatMap(([from, targets]) => [from, ...targets])) {
      if (values.includes(state)) continue
      throw new SchemaError(
        'SCHEMA_VALIDATION',
        `transitions: "${state}" is not a value of the enum (${values.join(', ')}).`,
      )
    }
    return new EnumFieldBuilder(this.changed({ transitions: Object.fromEntries(entries) }))
  }
}

/** A field whose value only clients can read or check. */
export class SecretFieldBuilder<Has extends Presence = 'required'> extends FieldBuilder<
  'secret',
  string,
  Has
> {
  override optional(): SecretFieldBuilder<'optional'> {
    return new SecretFieldBuilder(this.changed({ required: false }))
  }

  /** Turns the field into a plain one of kind `secret`, because a default cannot be a secret. */
  override default(value: string | null): FieldBuilder<'secret', string, 'defaulted'> {
    const { secretMode: _, ...descriptor } = this.changed(withDefault(value))
    return new FieldBuilder({ ...descriptor, kind: 'secret' })
  }

  override auto(): SecretFieldBuilder<'auto'> {
    return new SecretFieldBuilder(this.changed(AUTO))
  }

  override merge(mergeStrategy: MergeStrategy): SecretFieldBuilder<Has> {
    return new SecretFieldBuilder(this.changed({ mergeStrategy }))
  }

  /** Stored as a salted hash: it can be checked, never read. */
  hashed(): SecretFieldBuilder<Has> {
    return new SecretFieldBuilder(this.changed({ secretMode: 'hashed' }))
  }

  /** Stored encrypted: anyone with the key can read it. */
  encrypted(): SecretFieldBuilder<Has> {
    return new SecretFieldBuilder(this.changed({ secretMode: 'encrypted' }))
  }
}

/** Makes values in nested objects optional where their fields are. */
export type ObjectValue<Fields extends FieldBuilders> = {
  [Field in keyof Fields as PresenceOf<Fields[Field]> extends 'required' ? Field : never]: ValueOf<
    Fields[Field]
  >
} & {
  [Field in keyof Fields as PresenceOf<Fields[Field]> extends 'required' ? never : Field]?: ValueOf<
    Fields[Field]
  > | null
}

/**
 * The builders of fields, one per kind.
 *
 * @example
 * const todos = { fields: { title: t.string(), done: t.boolean().default(false) } }
 */
export const t = {
  /** Text. */
  string: () => new FieldBuilder<'string', string>(descriptorOf('string')),
  /** A number. */
  number: () => new FieldBuilder<'number', number>(descriptorOf('number')),
  /** true or false */
  boolean: () => new FieldBuilder<'boolean', boolean>(descriptorOf('boolean')),
  /** ms since the epoch */
  timestamp: () => new FieldBuilder<'timestamp', number>(descriptorOf('timestamp')),
  /** Text that several people may edit at once: a string, or the state of a Yjs document. */
  richtext: () => new FieldBuilder<'richtext', string | Uint8Array>(descriptorOf('richtext')),
  /** One of the values, which are texts. */
  enum: <const Values extends readonly string[]>(values: Values) =>
    new EnumFieldBuilder<Values[number]>({ ...descriptorOf('enum'), enumValues: [...values] }),
  /** A list of items of one kind. Only the kind of the item is kept. */
  array: <Item extends AnyField>(item: Item) =>
    new FieldBuilder<'array', ValueOf<Item>[]>({
      ...descriptorOf('array'),
      itemKind: item.toDescriptor().kind,
    }),
  /** An object with these fields, each checked if present. Other fields are allowed. */
  object: <Fields extends FieldBuilders>(fields: Fields) =>
    new FieldBuilder<'object', ObjectValue<Fields>>({
      ...descriptorOf('object'),
      nestedFields: Object.fromEntries(
        Object.entries(fields).map(([name, field]) => [name, field.toDescriptor()]),
      ),
    }),
  /** Any JSON value, up to 32 levels deep. */
  json: <Value = JsonValue>() =>
    new FieldBuilder<'json', Value>({ ...descriptorOf('json'), nestedFields: null }),
  /** A reference to content that travels on its own, like a file. */
  blob: () => new FieldBuilder<'blob', BlobRef>(descriptorOf('blob')),
  /** Text that only clients can read or check. Encrypted, unless it is `hashed()`. */
  secret: () => new SecretFieldBuilder({ ...descriptorOf('secret'), secretMode: 'encrypted' }),
}

const AUTO = { required: false, defaultValue: undefined, auto: true } as const

function withDefault(value: unknown): Partial<FieldDescriptor> {
  // Values of every kind are JSON values.
  return { required: false, defaultValue: value as JsonValue }
}

function descriptorOf<Kind extends FieldKind>(kind: Kind): FieldDescriptor & { readonly kind: Kind } {
  return {
    kind,
    required: true,
    defaultValue: undefined,
    auto: false,
    enumValues: null,
    itemKind: null,
    mergeStrategy: null,
    transitions: null,
  }
}
