import { ClarityError } from "@clarity-runtime/contracts"
import { describe, expect, it } from "vitest"
import { readConfiguration, type Configuration } from "./configuration.ts"
import { createReloading } from "./reload.ts"

const at = (environment: Record<string, string> = {}) => readConfiguration({}, environment, "/nowhere")

function reloading(started = at()) {
  const applied: Configuration[] = []
  let next: () => Configuration = () => started
  const reloads = createReloading(started, { read: () => next(), apply: (given) => void applied.push(given) })
  return { reloads, applied, becomes: (read: () => Configuration) => (next = read) }
}

describe("reloading the configuration", () => {
  it("does nothing when nothing changed", () => {
    const { reloads, applied } = reloading()
    expect(reloads.reload()).toEqual({ changed: [], needsRestart: [] })
    expect(applied).toEqual([])
  })

  it("applies what can change, and names what waits for a restart until it is as it was", () => {
    const { reloads, applied, becomes } = reloading()
    becomes(() => at({ CLARITYD_ALLOWED_HOSTS: "a.example", CLARITYD_PORT: "4711", CLARITY_REMOTE_ALLOWED_HOSTS: "b" }))
    expect(reloads.reload()).toEqual({
      changed: ["allowedHosts"],
      needsRestart: ["port", "remote.allowedHosts", "remote.privateHosts"],
    })
    expect(applied.map(({ allowedHosts }) => allowedHosts)).toEqual([["a.example"]])
    expect(reloads.reload()).toEqual({
      changed: [],
      needsRestart: ["port", "remote.allowedHosts", "remote.privateHosts"],
    })
    becomes(() => at())
    expect(reloads.reload()).toEqual({ changed: ["allowedHosts"], needsRestart: [] })
  })

  it("keeps what was in force when the new one is wrong, and says why until it is mended", () => {
    const { reloads, applied, becomes } = reloading()
    becomes(() => {
      throw new ClarityError("config_error", "the configuration x: port must be a number")
    })
    expect(() => reloads.reload()).toThrow(/not reloaded: the configuration x/)
    expect(reloads.problem).toContain("port must be a number")
    expect(applied).toEqual([])
    becomes(() => at())
    reloads.reload()
    expect(reloads.problem).toBeUndefined()
  })
})
