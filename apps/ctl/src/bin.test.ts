import { spawnSync } from "node:child_process"
import { expect, it } from "vitest"
import { inRoot } from "../test/processes.ts"

it.each(["20.19.4", "22.22.0", "23.11.0", "24.14.9"])("on Node %s says in one sentence what it needs", (version) => {
  const pretend = `data:text/javascript,Object.defineProperty(process,"versions",{value:{...process.versions,node:"${version}"}})`
  const { status, stderr } = spawnSync(process.execPath, ["--import", pretend, inRoot("apps/ctl/bin/run.js"), "list"], {
    encoding: "utf8",
  })
  expect([status, stderr]).toEqual([
    78,
    `clarityctl needs Node 22.23, 24.15 or 26 and later; this is Node ${version}.\n`,
  ])
})
