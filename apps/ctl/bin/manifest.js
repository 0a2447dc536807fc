// Part of the build: writes oclif.manifest.json, so that a command loads its own file only.
import { readFile, rm, writeFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { Plugin } from "@oclif/core"

const root = fileURLToPath(new URL("..", import.meta.url))
const file = new URL("../oclif.manifest.json", import.meta.url)
await rm(file, { force: true })
const pjson = JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8"))
const plugin = new Plugin({
  root,
  type: "core",
  ignoreManifest: true,
  errorOnManifestCreate: true,
  respectNoCacheDefault: true,
  pjson,
  isRoot: true,
})
await plugin.load()
await writeFile(file, `${JSON.stringify(plugin.manifest)}\n`)
