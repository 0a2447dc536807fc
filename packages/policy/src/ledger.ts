/** What is counted under rules, across reloads of the file they stand in. */
export interface Ledger<Rule extends object, Book> {
  of(rule: Rule, now: number): Book
}

/** Two rules of one signature share a book. A book is let go when its rule has not been asked for and `over` says so. */
export function createLedger<Rule extends object, Book>(
  signature: (rule: Rule) => string,
  open: (rule: Rule) => Book,
  over: (book: Book, now: number) => boolean,
): Ledger<Rule, Book> {
  const books = new Map<string, Book>()
  let byRule = new WeakMap<Rule, Book>()

  return {
    of(rule, now) {
      const known = byRule.get(rule)
      if (known !== undefined) return known
      for (const [name, book] of books) {
        if (!over(book, now)) continue
        books.delete(name)
        byRule = new WeakMap()
      }
      const name = signature(rule)
      let book = books.get(name)
      if (book === undefined) books.set(name, (book = open(rule)))
      byRule.set(rule, book)
      return book
    },
  }
}
