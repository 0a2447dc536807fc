import { expect, it } from "vitest"
import { parseManifest } from "./validate.ts"
import { assignNamespaces } from "./namespaces.ts"

function record(id: string, module: string, createdAt: number) {
  const manifest = parseManifest({
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile: "", module },
    spec: { origin: { type: "local_stdio", command: "node" } },
  })
  return { id, manifest, createdAt }
}

it("leaves the oldest twin its plain name and gives the others a suffix from their id, in whatever order they come", () => {
  const records = [
    record("svc_aaaaaaaaaaaa", "Same-Name", 3),
    record("svc_bbbbbbbbbbbb", "same_name", 1),
    record("svc_cccccccccccc", "same name", 2),
    record("svc_dddddddddddd", "other", 9),
  ]
  const expected = {
    svc_aaaaaaaaaaaa: "same_name_aaaaaa",
    svc_bbbbbbbbbbbb: "same_name",
    svc_cccccccccccc: "same_name_cccccc",
    svc_dddddddddddd: "other",
  }
  expect(Object.fromEntries(assignNamespaces(records))).toEqual(expected)
  expect(Object.fromEntries(assignNamespaces(records.toReversed()))).toEqual(expected)
})

it("never renames a service because a younger one arrives, not even one named like its suffix", () => {
  const old = [record("svc_bbbbbbbbbbbb", "fs", 1), record("svc_aaaaaaaaaaaa", "fs", 2)]
  const before = assignNamespaces(old)
  const after = assignNamespaces([...old, record("svc_000000000000", "fs_aaaaaa", 3), record("svc_1", "fs", 3)])
  for (const [id, name] of before) expect(after.get(id)).toBe(name)
  expect(after.get("svc_000000000000")).toBe("fs_aaaaaa_000000")
  expect(new Set(after.values()).size).toBe(4)
})

it("keeps services out of the runtime's own namespaces and away from each other when ids begin alike", () => {
  const names = assignNamespaces([
    record("svc_abcdef000001", "Runtime", 1),
    record("svc_abcdef000002", "runtime", 2),
    record("custom-id", "clarity", 3),
  ])
  expect(names.get("svc_abcdef000001")).toBe("runtime_abcdef")
  expect(names.get("svc_abcdef000002")).toBe("runtime_abcdef000002")
  expect(names.get("custom-id")).toMatch(/^clarity_[0-9a-f]{6}$/)
})
