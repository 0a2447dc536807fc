import { mkdirSync, writeFileSync } from "node:fs"
import { request } from "node:http"
import { join } from "node:path"
import { afterAll, describe, expect, it } from "vitest"
import { cleanUp, startDaemon, temporaryDirectory, type Daemon } from "./support/daemon.ts"

afterAll(cleanUp)

/** Status of a request that says it is for that host; `fetch` does not let one say so. */
function statusFor(daemon: Daemon, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request(new URL("/api/status", daemon.url), { headers: { host } }, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
    asked.once("error", reject).end()
  })
}

describe("reloading the configuration of a running daemon", () => {
  it("takes what can change, names the rest, and keeps what was in force when the file is wrong", async () => {
    const workspace = temporaryDirectory()
    const file = join(workspace, ".clarity", "clarityd.json")
    const write = (text: string) => writeFileSync(file, text)
    mkdirSync(join(workspace, ".clarity"), { recursive: true })
    await using daemon = await startDaemon({ workspace })
    expect(await statusFor(daemon, "gate.example")).toBe(403)

    write(JSON.stringify({ allowedHosts: ["gate.example"], wasm: { timeoutMs: 100 } }))
    expect(await daemon.client.reloadConfiguration({})).toEqual({ changed: ["allowedHosts"], needsRestart: ["wasm"] })
    expect(await statusFor(daemon, "gate.example")).toBe(200)

    write('{ "allowedHosts": ["other.example"], "typo": 1 }')
    await expect(daemon.client.reloadConfiguration({})).rejects.toThrow(/not reloaded.*typo/s)
    expect(await statusFor(daemon, "gate.example")).toBe(200)
    expect(await statusFor(daemon, "other.example")).toBe(403)
    expect((await daemon.client.status({})).notices.join()).toContain("not in force")

    write("{}")
    daemon.program.child.kill("SIGHUP")
    await expect.poll(() => statusFor(daemon, "gate.example")).toBe(403)
    expect((await daemon.client.status({})).notices.join()).not.toContain("not in force")
  })
})
