import { readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, it } from "vitest"

it("carries no server code into the client", () => {
  const seen = new Set<string>()
  const visit = (file: string) => {
    if (seen.has(file)) return
    seen.add(file)
    for (const [, names, target] of readFileSync(file, "utf8").matchAll(
      /^(?:import|export)\s+((?:type )?[^"]*?)\s*from "([^"]+)"/gm,
    )) {
      if (names?.startsWith("type ") === true) continue
      if (target?.startsWith(".")) visit(join(dirname(file), target))
      else seen.add(target ?? "")
    }
  }
  const here = dirname(fileURLToPath(import.meta.url))
  visit(join(here, "client.ts"))
  expect([...seen].map((file) => file.replace(here, "")).sort()).toEqual([
    "/client.ts",
    "/routes.ts",
    "@clarity-runtime/contracts",
  ])
})
