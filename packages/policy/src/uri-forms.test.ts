import { describe, expect, test } from "vitest"
import { parseManifest, type JudgedService } from "@clarity-runtime/contracts"
import { matcherOf } from "./matching.ts"

const service: JudgedService = {
  id: "svc_1",
  namespace: "files",
  manifest: parseManifest({
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile: "x", module: "files" },
    spec: { origin: { type: "local_stdio", command: "x" } },
  }),
}

function matches(how: "opens" | "closes", pattern: string, target: string): boolean {
  const subject = { principal: "token:a", service, method: "resources/read", kind: "resource" as const, target }
  return matcherOf({ resources: [pattern] }, how)(subject) === undefined
}

const secrets = [
  "file:///secret/b",
  "file:///pub/../secret/b",
  "file:///pub/%2e%2e/secret/b",
  "file:///pub/%252e%252E/secret/b",
  "file:///./secret/b",
  "file:////secret/b",
  "file:///SECRET/b",
  "file:///%73ecret/b",
  "file:\\\\\\secret\\b",
  "file:/secret/b",
  "file:secret/b",
  "file://localhost/secret/b",
  "FILE:///secret/b",
  " file:///sec\tret/b\n",
  "file:///secret/b#top",
  "file:///secret/b?raw",
]

describe("a rule that closes", () => {
  test.each(secrets)("meets %j", (uri) => {
    expect(matches("closes", "file:///secret/b", uri)).toBe(true)
    expect(matches("closes", "file:///secret/*", uri)).toBe(true)
  })

  test.each([
    ["https://a.example/x/*", "https://user@A.example:443/y/../x/1"],
    ["db://one/%2A", "db://one/*"],
    ["notes/private/*", "notes/./public/../private/1"],
    ["*/../*", "file:///a/../b"],
  ])("%s meets %s", (pattern, uri) => expect(matches("closes", pattern, uri)).toBe(true))

  test.each([
    ["file:///secret/*", "file:///pub/b"],
    ["file:///secret/*", "file:///secrets"],
    ["*/../*", "file:///a/b"],
    ["db://one?drop=*", "db://one"],
    ["db://one", "db://one?x=1"],
    ["urn:a:b", "urn:a:c"],
  ])("%s leaves %s alone", (pattern, uri) => expect(matches("closes", pattern, uri)).toBe(false))
})

describe("a rule that opens", () => {
  test.each(["file:///pub/a", "file:///pub/a%20b", "file:///pub/{path}", "file:///pub/sub/../a", "file:///pub/"])(
    "opens %s",
    (uri) => expect(matches("opens", "file:///pub/*", uri)).toBe(true),
  )

  test.each([
    "file:///pub/../secret/b",
    "file:///pub/%2e%2e/secret/b",
    "file:///pub/%252e%252e/secret/b",
    "file:///pub/..\\secret\\b",
    "file:///pub/.\t./secret/b",
  ])("is not led out of what it names by %j", (uri) => expect(matches("opens", "file:///pub/*", uri)).toBe(false))

  test.each(["db://a//b/*", "file:*", "urn:x:*", "x://h/%41/*", "*"])("%s opens what it names", (pattern) =>
    expect(matches("opens", pattern, pattern.replace("*", "1"))).toBe(true),
  )
})
