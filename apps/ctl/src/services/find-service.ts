import { ClarityError } from "@clarity-runtime/contracts"
import type { ControlClient } from "@clarity-runtime/control/client"

export type Summary = Awaited<ReturnType<ControlClient["listServices"]>>["items"][number]
export type Service = Awaited<ReturnType<ControlClient["getService"]>>["service"]

/**
 * The one service that an id, a name or the beginning of either means. Throws `not_found`, or `conflict` with the
 * candidates when it could mean several.
 */
export async function findService(client: ControlClient, text: string): Promise<Summary> {
  const { items, total } = await client.listServices({ match: text, limit: 10 })
  const [found] = items
  if (found === undefined) {
    throw new ClarityError("not_found", `no service is called ${text}; clarityctl list shows them all`)
  }
  if (total === 1) return found
  const candidates = items.map((item) => `${nameOf(item)} (${item.serviceId})`).join(", ")
  throw new ClarityError(
    "conflict",
    `${text} could mean ${candidates}${total > items.length ? ` or ${total - items.length} more` : ""}; give the id or more of the name`,
  )
}

export function nameOf({ displayName, namespace }: Pick<Summary, "displayName" | "namespace">): string {
  return displayName ?? namespace
}
