import type { McpNotification, McpResult, Reply } from "@clarity-runtime/contracts"

export interface Collected {
  readonly notifications: readonly McpNotification[]
  readonly result: McpResult
}

/** Reads a reply to its end. Rejects with what the call throws. */
export async function collect(reply: Reply): Promise<Collected> {
  const notifications: McpNotification[] = []
  for (;;) {
    const step = await reply.next()
    if (step.done) return { notifications, result: step.value }
    notifications.push(step.value)
  }
}

/** The texts of a tool result's content, joined by newlines. */
export function textOf(result: McpResult): string {
  const content = Array.isArray(result["content"]) ? (result["content"] as { text?: unknown }[]) : []
  return content.flatMap(({ text }) => (typeof text === "string" ? [text] : [])).join("\n")
}
