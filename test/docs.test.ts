import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { openApiDocument } from "@clarity-runtime/control"
import { parseRules, testRules } from "@clarity-runtime/policy"
import { describe, expect, it } from "vitest"

// What documents say exists: variables, flags, routes, npm scripts, files.
const root = join(import.meta.dirname, "..")
const read = (path: string) => readFileSync(join(root, path), "utf8")
const skipped = new Set(["node_modules", "dist", "coverage"])

function filesBelow(folder: string, ending: RegExp): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return skipped.has(entry.name) ? [] : filesBelow(path, ending)
    return ending.test(entry.name) ? [path] : []
  })
}

const documents = [
  "README.md",
  "CONTRIBUTING.md",
  ...["docs", "packages", "apps", "examples"].flatMap((folder) => filesBelow(folder, /\.md$/)),
]
const sources = ["packages", "apps"]
  .flatMap((folder) => filesBelow(folder, /\.(?:ts|js)$/))
  .filter((path) => !/\.test\.ts$|[\\/]test(?:-\w+)?[\\/]/.test(path))
  .map(read)
  .join("\n")
const commands = new Set(
  filesBelow("apps/ctl/src/commands", /\.ts$/).map((path) =>
    relative("apps/ctl/src/commands", path)
      .replaceAll("\\", "/")
      .replace(/(?:\/index)?\.ts$/, ""),
  ),
)

describe.each(documents)("%s", (path) => {
  const text = read(path)
  const code = [...text.matchAll(/`([^`\n]+)`|```[a-z]*\n([\s\S]*?)```/g)].map(([, span, block]) => span ?? block ?? "")

  it("names variables that the code reads", () => {
    const named = new Set(text.match(/\bCLARITY[CD]?_[A-Z_]*[A-Z]\b/g))
    expect([...named].filter((name) => !sources.includes(name) && !name.startsWith("CLARITY_REMOTE_AUTH_"))).toEqual([])
  })

  it("names routes that exist", () => {
    const known = Object.keys(openApiDocument()["paths"] as object).map((route) => route.replace(/\{\w+\}/g, "*"))
    const named = new Set(text.match(/(?<=[\s`:\d])\/api\/[A-Za-z0-9{}/._-]+/g))
    const wild = [...named].map((route) => route.replace(/\{\w+\}/g, "*").replace(/[/.]$/, ""))
    expect(wild.filter((route) => !known.includes(route) && route !== "/api/openapi.json")).toEqual([])
  })

  it("names npm scripts that exist", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> }
    const named = code.flatMap((each) =>
      [...each.matchAll(/\bnpm run (?:-\S+ )*([a-z][\w:-]*)/g)].map(([, name]) => name),
    )
    expect(named.filter((name) => name !== undefined && !(name in scripts))).toEqual([])
  })

  it("names commands of clarityctl that exist", () => {
    const named = code.flatMap((each) => [...each.matchAll(/\bclarityctl ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?/g)])
    const missing = named.filter(
      ([, first = "", second = ""]) => !commands.has(first) && !commands.has(`${first}/${second}`),
    )
    expect(missing.map(([all]) => all)).toEqual([])
  })

  it("links to files that exist", () => {
    const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => (target ?? "").replace(/#.*$/, ""))
    const local = links.filter((target) => target !== "" && !/^[a-z]+:/.test(target))
    expect(local.filter((target) => !existsSync(join(root, dirname(path), target)))).toEqual([])
  })

  it("names no place of one machine", () => {
    expect(text.match(/(?<![\w.])\/(?:work|root|home|opt)\/\S*/g) ?? []).toEqual([])
  })
})

describe("docs/operating.md", () => {
  const text = read("docs/operating.md")

  it("has every flag of clarityd, and no other in its table", () => {
    const flags = (from: string) => [...new Set(from.match(/--[a-z][a-z-]*/g))].sort()
    const table = text
      .split("\n")
      .filter((line) => line.startsWith("| `-"))
      .join("\n")
    const offered = flags(read("apps/daemon/src/help.ts")).filter((flag) => !["--help", "--version"].includes(flag))
    expect(flags(table)).toEqual(offered)
  })

  it("has every variable the daemon reads", () => {
    const read_ = new Set(read("apps/daemon/src/configuration.ts").match(/\bCLARITYD?_[A-Z_]+\b/g))
    expect([...read_].filter((name) => !text.includes(name))).toEqual([])
  })

  it("has every key of the configuration file", () => {
    const schema = JSON.parse(read("schemas/clarityd.schema.json")) as Node
    const keys = (node: Node, before = ""): string[] =>
      Object.entries(node.properties ?? {}).flatMap(([key, inner]) =>
        inner.properties === undefined ? [before + key] : keys(inner, `${before}${key}.`),
      )
    expect(keys(schema).filter((key) => key !== "$schema" && !text.includes(`\`${key}\``))).toEqual([])
  })
})

interface Node {
  readonly properties?: Record<string, Node>
}

describe("docs/services.md", () => {
  it("has every field of a manifest's spec", () => {
    const schema = read("schemas/mcp-service-v1.schema.json")
    const { properties } = JSON.parse(schema) as { properties: { spec: { properties: object } } }
    const text = read("docs/services.md")
    expect(Object.keys(properties.spec.properties).filter((key) => !text.includes(`\`${key}\``))).toEqual([])
  })
})

describe("docs/policy.md", () => {
  const text = read("docs/policy.md")
  const examples = [...text.matchAll(/```json\n([\s\S]*?)```/g)].map(([, json]) => JSON.parse(json ?? "") as object)

  it("has every field of the rules file", () => {
    type Rules = { properties: Record<string, object> & { rules: { items: { properties: object } } } }
    const { properties } = JSON.parse(read("schemas/policy.schema.json")) as Rules
    const rule = properties.rules.items.properties
    const named = [...Object.keys(properties), ...Object.keys(rule)].filter((key) => key !== "$schema")
    expect(named.filter((key) => !new RegExp(`["\`.]${key}["\`.]`).test(text))).toEqual([])
  })

  it("shows rules that are rules, and what comes of trying its cases", () => {
    const files = examples.filter((example) => "apiVersion" in example)
    const [tried] = examples.filter((example) => "cases" in example)
    expect(files.length).toBeGreaterThan(1)
    for (const file of files) expect(() => parseRules(file)).not.toThrow()
    const annotated = (tried as { cases: { tool: string }[] }).cases.map((one) => ({
      ...one,
      annotations: { readOnlyHint: one.tool.startsWith("list_") },
    }))
    const { passed, failed, results } = testRules(files[0], annotated)
    expect(text).toContain(`${passed} cases passed, ${failed} failed`)
    for (const { problem } of results) expect(text).toContain(problem ?? "")
  })
})

it("every package is in the README's table", () => {
  const text = read("README.md")
  const folders = ["packages", "apps"].flatMap((place) =>
    readdirSync(join(root, place)).map((name) => `${place}/${name}`),
  )
  expect(folders.filter((folder) => !text.includes(`(${folder}/README.md)`))).toEqual([])
  expect(
    folders.filter((folder) => !existsSync(join(root, folder, "README.md"))).map((each) => relative(root, each)),
  ).toEqual([])
})
