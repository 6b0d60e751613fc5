/** Index of the first matching item in an ascending list, from which on all match; its length when none does. */
export function firstIndexAbove<Item>(items: readonly Item[], isAbove: (item: Item) => boolean): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isAbove(items[middle] as Item))
      high = middle // low ≤ middle < length
    else low = middle + 1
  }
  return low
}
