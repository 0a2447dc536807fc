import { existsSync } from "node:fs"
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect, it } from "vitest"
import { removeArtifact } from "./artifacts.ts"

let root: string
let build: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "artifacts-"))
  build = join(root, "build")
  await mkdir(join(build, "deep"), { recursive: true })
  await mkdir(join(root, "build-of-others"))
  await writeFile(join(root, "mine.txt"), "keep")
  await writeFile(join(build, "file"), "keep")
  await writeFile(join(root, "build-of-others", "b.wasm"), "keep")
})

afterEach(() => rm(root, { recursive: true, force: true }))

it("deletes a file inside the build folder, however deep", async () => {
  await writeFile(join(build, "deep", "a.wasm"), "x")
  expect(await removeArtifact(build, join(build, "deep", "a.wasm"))).toBeUndefined()
  expect(existsSync(join(build, "deep", "a.wasm"))).toBe(false)
})

it("finds the build folder behind a link", async () => {
  await symlink(build, join(root, "link"))
  await writeFile(join(build, "a.wasm"), "x")
  expect(await removeArtifact(join(root, "link"), join(root, "link", "a.wasm"))).toBeUndefined()
})

it.each([
  ["a file elsewhere", () => join(root, "mine.txt"), "it is not inside the build folder"],
  ["a way out", () => `${build}/deep/../../mine.txt`, "it is not inside the build folder"],
  [
    "a folder whose name begins alike",
    () => join(root, "build-of-others", "b.wasm"),
    "it is not inside the build folder",
  ],
  ["a relative path", () => "mine.txt", "its path is not absolute"],
  ["a folder", () => join(build, "deep"), "it is not a regular file"],
  ["the build folder itself", () => build, "it is not inside the build folder"],
  ["nothing", () => join(build, "none.wasm"), "it is not there"],
  ["a path through a file", () => join(build, "file", "x"), "it is not there"],
])("keeps %s", async (_, path, why) => {
  expect(await removeArtifact(build, path())).toBe(why)
  expect(existsSync(join(root, "mine.txt"))).toBe(true)
  expect(existsSync(join(root, "build-of-others", "b.wasm"))).toBe(true)
})

it("keeps what links inside the build folder point to", async () => {
  await symlink(join(root, "mine.txt"), join(build, "link.wasm"))
  await symlink(root, join(build, "out"))
  expect(await removeArtifact(build, join(build, "link.wasm"))).toBe("it is not a regular file")
  expect(await removeArtifact(build, join(build, "out", "mine.txt"))).toBe("it is not inside the build folder")
  expect(existsSync(join(root, "mine.txt"))).toBe(true)
})
