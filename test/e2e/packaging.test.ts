import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { installPacked, nodeBinaries, runTo, startUntil } from "./support/packed.ts"
import { inRoot } from "./support/process.ts"

// What a person gets: every package as it would be published, installed together into an empty folder.
const tooOld = "20.20.2"
const served = ["22.23.3", "24.21.0", "26.10.0"]
const folder = mkdtempSync(join(tmpdir(), "packed-"))
let packages: readonly string[] = []
let nodeOf: (version: string) => string

beforeAll(async () => {
  ;[packages, nodeOf] = await Promise.all([installPacked(folder), nodeBinaries([tooOld, ...served])])
  for (const name of ["sample.clarity", "sample.wasm"]) copyFileSync(inRoot(`examples/${name}`), join(folder, name))
}, 300_000)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const bins = { clarityd: "clarityd/bin/clarityd.js", clarityctl: "clarityctl/bin/run.js" }
const bin = (name: keyof typeof bins) => join(folder, "node_modules", bins[name])

/** As after a login with that Node: nothing of this project or of this test's own environment. */
function environment(version: string, more: Record<string, string> = {}): NodeJS.ProcessEnv {
  const { HOME = "", USERPROFILE = "", SYSTEMROOT = "", TEMP = "" } = process.env
  const path = [dirname(nodeOf(version)), "/usr/bin", "/bin"].join(delimiter)
  return { HOME, USERPROFILE, SYSTEMROOT, TEMP, PATH: path, ...more }
}

describe.each(served)("all tarballs together under Node %s", (version) => {
  const run = (args: readonly string[], more: Record<string, string> = {}) =>
    runTo(nodeOf(version), args, folder, environment(version, more))

  it("every package can be imported, and makes a gateway", async () => {
    const script = `
      const loaded = await Promise.all(${JSON.stringify(packages.filter((name) => name !== "clarityctl"))}.map((name) => import(name)))
      const { createGateway } = await import("@clarity-runtime/gateway")
      console.log(loaded.every((each) => Object.keys(each).length > 0), typeof createGateway)`
    writeFileSync(join(folder, "import.mjs"), script)
    expect(await run(["import.mjs"])).toEqual({ code: 0, stdout: "true function\n", stderr: "" })
  })

  it("clarityd serves, clarityctl operates it, and a module answers a call", async () => {
    const workspace = join(folder, `workspace-${version}`)
    mkdirSync(workspace)
    const daemon = await startUntil(
      nodeOf(version),
      [bin("clarityd"), "--port", "0", "--workspace", workspace],
      { cwd: folder, env: environment(version) },
      /listens on (\S+)/,
    )
    try {
      const status = await fetch(`${daemon.match}/api/status`)
      expect(status.status).toBe(200)
      const ctl = async (...args: string[]) => {
        const ended = await run([bin("clarityctl"), ...args], { CLARITYD_URL: daemon.match })
        expect(ended, args.join(" ")).toMatchObject({ code: 0, stderr: "" })
        return ended.stdout
      }
      expect(await ctl("--help")).toContain("unquarantine")
      await ctl("add", "sample.wasm")
      expect(await ctl("list", "--json")).toContain('"RUNNING"')
      expect(await ctl("call", "sample__fn__units", "--json", '{"text":"four"}')).toBe("4\n")
    } finally {
      expect(await daemon.stop()).toBe(0)
    }
  })
})

describe("on a Node that is too old", () => {
  it.each(Object.keys(bins) as (keyof typeof bins)[])("%s says in one sentence what is needed", async (name) => {
    const ended = await runTo(nodeOf(tooOld), [bin(name), "--help"], folder, environment(tooOld))
    expect(ended).toEqual({
      code: 78,
      stdout: "",
      stderr: `${name} needs Node 22.23, 24.15 or 26 and later; this is Node ${tooOld}.\n`,
    })
  })
})
