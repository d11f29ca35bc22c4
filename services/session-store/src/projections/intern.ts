/** Equal values kept once. Bounded: beyond `max` values the oldest is forgotten, which costs memory, never truth. */

/** A function that answers with the first value it saw that is equal to the given one. */
export function createIntern<T extends object>(max = 10_000): (value: T) => T {
  const byText = new Map<string, T>();
  const known = new WeakMap<T, T>();
  return (value) => {
    const met = known.get(value);
    if (met !== undefined) return met;
    const text = JSON.stringify(value);
    const first = byText.get(text);
    if (first !== undefined) {
      known.set(value, first);
      return first;
    }
    const [oldest] = byText.keys();
    if (byText.size >= max && oldest !== undefined) byText.delete(oldest);
    byText.set(text, value);
    known.set(value, value);
    return value;
  };
}
