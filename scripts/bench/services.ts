import { setTimeout as sleep } from "node:timers/promises"

/** Registers a service with a running daemon. */
export async function addService(
  origin: string,
  module: string,
  from: object,
  sourceFile = `bench/${module}`,
  token?: string,
): Promise<void> {
  const manifest = {
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile, module },
    spec: { origin: from },
  }
  const response = await fetch(`${origin}/api/services/apply`, {
    method: "POST",
    headers: { "content-type": "application/json", ...bearer(token) },
    body: JSON.stringify({ manifest }),
  })
  if (!response.ok) throw new Error(`${module}: ${await response.text()}`)
}

interface Summary {
  readonly module: string
  readonly lifecycle: string
  readonly reason?: string
}

function bearer(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` }
}

export async function summaries(origin: string, token?: string): Promise<readonly Summary[]> {
  const response = await fetch(`${origin}/api/services`, { headers: bearer(token) })
  return ((await response.json()) as { items: readonly Summary[] }).items
}

export async function waitUntilRunning(origin: string, modules: readonly string[], token?: string): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    const waiting = (await summaries(origin, token)).filter(
      ({ module, lifecycle }) => modules.includes(module) && lifecycle !== "RUNNING",
    )
    if (waiting.length === 0) return
    if (tries === 299)
      throw new Error(
        waiting.map(({ module, lifecycle, reason }) => `${module} ${lifecycle} ${reason ?? ""}`).join("; "),
      )
    await sleep(100)
  }
}
