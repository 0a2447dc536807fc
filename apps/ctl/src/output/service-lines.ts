import type { Service, Summary } from "../services/find-service.ts"
import { oneLine } from "./escape.ts"
import { counted, span, table } from "./table.ts"

export function serviceTable(items: readonly Summary[]): string {
  if (items.length === 0)
    return "No services yet. Add one: clarityctl add <URL | file.wasm | file.clarity>, or a command after --."
  const rows = items.map((item) => [
    item.namespace,
    item.serviceId,
    kinds[item.originType],
    item.lifecycle,
    item.health,
    item.interface === null ? "-" : `${item.interface.tools}${item.interface.stale ? "?" : ""}`,
    item.lifecycle === "RUNNING" ? span(item.uptimeSeconds) : "-",
    troubleOf(item),
  ])
  return table(["NAME", "ID", "KIND", "STATE", "HEALTH", "TOOLS", "UP", "NOTE"], rows)
}

const kinds = { local_wasm: "wasm", local_stdio: "stdio", remote_mcp: "remote" }

/** Why a service is not well, and what to do about it; nothing for one that is. */
export function troubleOf({ reason, hint }: Pick<Summary, "reason" | "hint">): string {
  return oneLine([reason, hint].filter((part) => part !== null && part !== "").join(" - "))
}

/** `fs: RUNNING HEALTHY, 11 tools`. */
export function stateLine({ namespace, runtime }: Service): string {
  return oneLine(`${namespace}: ${runtime.lifecycle} ${runtime.health}`)
}

export function interfaceLine(face: Summary["interface"]): string {
  if (face === null) return "interface not known yet"
  const { tools, resources, prompts, interfaceRevision, stale } = face
  const parts = [counted(tools, "tool"), counted(resources, "resource"), counted(prompts, "prompt")]
  return `${parts.join(", ")} (${interfaceRevision}${stale ? ", as last seen" : ""})`
}

export function whyNot({ runtime }: Service): string {
  const { lastError, hint, lifecycle, health } = runtime
  return oneLine(
    [lastError ?? `it is ${lifecycle} and ${health}`, hint].filter((part) => part !== undefined).join(" - "),
  )
}
