import type { Change, Interest, JsonObject } from "@clarity-runtime/contracts"

type ListKind = "tools" | "resources" | "prompts"

const maxUnread = 1024

/** One who watches: what arrives for it while it reads at its own pace. Unread changes of one kind melt into one. */
export class Watcher {
  readonly lists: boolean
  readonly resources: ReadonlySet<string>
  /** It has been told that watching began. */
  ready = false
  #unread: Change[] = []
  #wake: (() => void) | undefined
  #ended = false

  constructor(interest: Interest) {
    this.lists = interest.lists === true
    this.resources = new Set(interest.resources)
  }

  begin(accepted: ReadonlySet<string>): void {
    if (this.ready) return
    this.ready = true
    this.#unread.unshift({ kind: "watching", resources: [...this.resources].filter((uri) => accepted.has(uri)) })
    this.#wake?.()
  }

  listsChanged(lists: readonly ListKind[]): void {
    if (!this.lists) return
    const place = this.#unread.findIndex((change) => change.kind === "lists")
    const before = this.#unread[place]
    if (before?.kind === "lists")
      this.#unread[place] = { kind: "lists", lists: [...new Set([...before.lists, ...lists])] }
    else this.#push({ kind: "lists", lists })
  }

  resourceChanged(uri: string, params: JsonObject): void {
    if (!this.#covers(uri)) return
    const change: Change = { kind: "resource", uri, params }
    const place = this.#unread.findIndex((unread) => unread.kind === "resource" && unread.uri === uri)
    if (place >= 0) this.#unread[place] = change
    else this.#push(change)
  }

  exit(reason: string): void {
    if (this.#ended) return
    this.#ended = true
    this.#push({ kind: "exit", reason })
  }

  async *read(signal: AbortSignal): AsyncGenerator<Change, void, void> {
    const wake = () => this.#wake?.()
    signal.addEventListener("abort", wake)
    try {
      while (!signal.aborted) {
        // Nothing comes before word that watching has begun, save the end.
        const change = this.ready || this.#ended ? this.#unread.shift() : undefined
        if (change) yield change
        else if (this.#ended) return
        else await new Promise<void>((resolve) => (this.#wake = resolve))
      }
    } finally {
      signal.removeEventListener("abort", wake)
    }
  }

  /** An update may name a part of what was subscribed to. */
  #covers(uri: string): boolean {
    if (this.resources.has(uri)) return true
    for (const own of this.resources) if (uri.startsWith(own.endsWith("/") ? own : `${own}/`)) return true
    return false
  }

  #push(change: Change): void {
    if (this.#unread.length >= maxUnread) this.#unread.shift()
    this.#unread.push(change)
    this.#wake?.()
  }
}
