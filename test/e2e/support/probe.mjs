// Loaded into a daemon before its own code: on SIGUSR2 it collects garbage and writes what it holds to the file named
// in PROBE_FILE.
import { renameSync, writeFileSync } from "node:fs"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc")
const file = process.env.PROBE_FILE
delete process.env.PROBE_FILE
delete process.env.NODE_OPTIONS

process.on("SIGUSR2", () => {
  collect()
  const resources = {}
  for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1
  writeFileSync(`${file}.new`, JSON.stringify({ resources, heapMb: process.memoryUsage().heapUsed / 1_048_576 }))
  renameSync(`${file}.new`, file)
})
