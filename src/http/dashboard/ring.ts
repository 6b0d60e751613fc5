/** The newest values, as many as fit; an older one makes room. */
export class Ring<T> {
  readonly #capacity: number
  readonly #values: T[] = []
  #next = 0

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  add(value: T): void {
    this.#values[this.#next] = value
    this.#next = (this.#next + 1) % this.#capacity
  }

  get newest(): T | undefined {
    return this.#values[(this.#next - 1 + this.#capacity) % this.#capacity]
  }

  /** Takes the place of the newest value. */
  replaceNewest(value: T): void {
    this.#values[(this.#next - 1 + this.#capacity) % this.#capacity] = value
  }

  oldestFirst(): T[] {
    if (this.#values.length < this.#capacity) return [...this.#values]
    return [...this.#values.slice(this.#next), ...this.#values.slice(0, this.#next)]
  }
}
