/** One search over all columns: every word must be somewhere in the row. Korean and English alike. */
export function matches(haystack: string, query: string): boolean {
  return query.toLowerCase().split(/\s+/).every((word) => haystack.includes(word));
}
