import { spawn } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, describe, expect, it } from "vitest"
import { callTool, namesOf, textOf } from "./support/mcp.ts"
import { inRoot, processesOf } from "./support/process.ts"

// What `npm start` does once everything is built: the example services behind a daemon, and nothing left of them at the end.
const workspace = mkdtempSync(join(tmpdir(), "start-"))
const temporary = mkdtempSync(join(tmpdir(), "start-temporary-"))
const windows = process.platform === "win32"

let stop = async (): Promise<number | string> => 0

afterEach(() => stop())
afterAll(() => {
  for (const folder of [workspace, temporary]) rmSync(folder, { recursive: true, force: true })
})

async function start() {
  const args = [inRoot("scripts/start.mjs"), "--port", "0", "--workspace", workspace]
  const env = { ...process.env, TMPDIR: temporary, TEMP: temporary }
  const child = spawn(process.execPath, args, { detached: !windows, env, stdio: ["ignore", "pipe", "inherit"] })
  const exited = new Promise<number | string>((resolve) =>
    child.once("close", (code, signal) => resolve(code ?? signal ?? "")),
  )
  let said = ""
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.on("data", (chunk: Buffer) => {
      said += chunk.toString()
      const found = /listens on (\S+)/.exec(said)?.[1]
      if (found !== undefined && said.includes("Try, in another terminal")) resolve(found)
    })
    void exited.then((code) => reject(new Error(`it ended with ${code}: ${said}`)))
  })
  const { pid } = child
  if (pid === undefined || pid <= 1) throw new Error("it has no process id")
  // As a terminal does it: everybody in the group hears it, and those who start others hand it on.
  stop = () => {
    stop = () => exited
    process.kill(windows ? pid : -pid, "SIGTERM")
    return exited
  }
  return { url, said: () => said }
}

describe("npm start", () => {
  it.each(["the first time", "again"])("brings the three example services, %s", async () => {
    const { url, said } = await start()
    // On the first start nothing is known of a service until it has described itself.
    const spaces = async () => [...new Set((await namesOf(url)).map((name) => name.split("__")[0]))].sort()
    await expect.poll(spaces, { timeout: 30_000 }).toEqual(["notes", "runtime", "sample", "units"])
    expect(textOf(await callTool(url, "sample__fn__units", { text: "four" }))).toBe("4")
    expect(textOf(await callTool(url, "units__convert", { value: 26.2, from: "mi", to: "km" }))).toBe(
      "26.2 mi = 42.1648128 km",
    )
    expect(textOf(await callTool(url, "notes__add_note", { title: "a", text: "b" }))).toContain("a")
    expect(said()).toContain(`CLARITYD_URL=${url}`)
    expect(readdirSync(temporary)).toEqual([])

    expect(await stop()).toBe(windows ? "SIGTERM" : 0)
    expect(said()).toContain("clarityd is stopping")
    expect(processesOf(workspace)).toEqual([])
  })
})
