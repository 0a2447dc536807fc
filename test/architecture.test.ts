import { readdirSync, readFileSync, statSync } from "node:fs"
import { join, relative } from "node:path"
import { describe, expect, it } from "vitest"

// Who may import whom (docs/architecture.md): contracts <- engines <- rooms <- apps; rooms never import rooms.
const root = join(import.meta.dirname, "..")
const engines = ["mcp-peer", "outbound", "state"]
const rooms = [
  "registry",
  "supervisor",
  "wasm-host",
  "process-host",
  "remote-proxy",
  "policy",
  "auth-providers",
  "telemetry",
  "gateway",
  "control",
  "testkit",
]
const apps: Record<string, readonly string[] | "everything"> = {
  daemon: "everything",
  ctl: ["contracts", "control/client"],
}
const scope = "@clarity-runtime/"

interface Package {
  readonly folder: string
  readonly dependencies: Record<string, string>
  readonly devDependencies: Record<string, string>
}

function packageAt(folder: string): Package {
  const json = JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8")) as Partial<Package>
  return { folder, dependencies: json.dependencies ?? {}, devDependencies: json.devDependencies ?? {} }
}

function sourcesOf(folder: string): string[] {
  const walk = (dir: string): string[] =>
    readdirSync(dir, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? walk(join(dir, entry.name)) : /\.tsx?$/.test(entry.name) ? [join(dir, entry.name)] : [],
    )
  return walk(join(root, folder, "src"))
}

function importsOf(file: string): string[] {
  const text = readFileSync(file, "utf8")
  return [
    ...text.matchAll(
      /(?:^|[\s;])(?:import|export)\s[^"'`;]*?from\s*["']([^"']+)["']|import\(\s*["']([^"']+)["']\s*\)|^import\s*["']([^"']+)["']/gm,
    ),
  ].map((match) => (match[1] ?? match[2] ?? match[3]) as string)
}

/** Without those that name types only: they load nothing. */
function loadedBy(file: string): string[] {
  const types = [...readFileSync(file, "utf8").matchAll(/^import type\s[^"']*?from\s*["']([^"']+)["']/gm)]
  const named = types.map(([, name]) => name)
  return importsOf(file).filter((imported) => !named.includes(imported))
}

/** Tests and what only they use; neither is published. */
const isTest = (file: string) => file.endsWith(".test.ts") || file.includes("/src/testing/")
const packages = readdirSync(join(root, "packages")).sort()
const appFolders = readdirSync(join(root, "apps")).filter((name) => statSync(join(root, "apps", name)).isDirectory())

function allowed(name: string): readonly string[] {
  if (name === "contracts") return []
  return engines.includes(name) ? ["contracts"] : ["contracts", ...engines]
}

describe("architecture", () => {
  it("knows every package", () => {
    expect(packages).toEqual(["contracts", ...engines, ...rooms].sort())
  })

  it.each(packages)("packages/%s imports only what it may", (name) => {
    const { dependencies, devDependencies } = packageAt(`packages/${name}`)
    for (const file of sourcesOf(`packages/${name}`)) {
      const where = relative(root, file)
      for (const imported of importsOf(file)) {
        // `std/` is the library of the Clarity language, in sources that tests quote.
        if (/^(?:\.|node:|std\/)/.test(imported)) continue
        const bare = imported
          .split("/")
          .slice(0, imported.startsWith("@") ? 2 : 1)
          .join("/")
        if (bare === `${scope}${name}`) continue
        const declared =
          bare in dependencies || (isTest(file) && bare in devDependencies) || (isTest(file) && bare === "vitest")
        const peer = name === "testkit" && bare === "vitest"
        expect(
          declared || peer,
          `${where} imports ${imported}, which packages/${name}/package.json does not declare`,
        ).toBe(true)
        if (!bare.startsWith(scope)) continue
        const other = bare.slice(scope.length)
        const fine = allowed(name).includes(other) || (other === "testkit" && isTest(file))
        expect(fine, `${where} may not import ${imported}`).toBe(true)
      }
    }
  })

  it.each(packages)("packages/%s depends on no sibling", (name) => {
    const own = Object.keys(packageAt(`packages/${name}`).dependencies).filter((dependency) =>
      dependency.startsWith(scope),
    )
    for (const dependency of own) expect(allowed(name)).toContain(dependency.slice(scope.length))
  })

  it.each(appFolders)("apps/%s imports only what it may", (name) => {
    const may = apps[name]
    expect(may, `apps/${name} is not in the plan`).toBeDefined()
    if (may === "everything" || may === undefined) return
    for (const file of sourcesOf(`apps/${name}`).filter((source) => !isTest(source))) {
      for (const imported of importsOf(file).filter((name) => name.startsWith(scope))) {
        expect(may, `${relative(root, file)} imports ${imported}`).toContain(imported.slice(scope.length))
      }
    }
  })

  it("the gateway brings hono, valibot and contracts, and nothing that runs services", () => {
    expect(Object.keys(packageAt("packages/gateway").dependencies).sort()).toEqual([
      `${scope}contracts`,
      "hono",
      "valibot",
    ])
  })

  it("no package but outbound makes HTTP requests of its own", () => {
    for (const name of packages.filter((name) => name !== "outbound" && name !== "testkit")) {
      for (const file of sourcesOf(`packages/${name}`).filter(
        (source) => !isTest(source) && !source.endsWith("control/src/client.ts"),
      )) {
        expect(
          loadedBy(file).filter((imported) => /^(?:undici|node:https?2?)$/.test(imported)),
          relative(root, file),
        ).toEqual([])
      }
    }
  })

  it("no source file has grown past 400 lines", () => {
    const files = [...packages.map((name) => `packages/${name}`), ...appFolders.map((name) => `apps/${name}`)].flatMap(
      sourcesOf,
    )
    const long = files.filter((file) => !isTest(file) && readFileSync(file, "utf8").split("\n").length > 400)
    expect(long.map((file) => relative(root, file))).toEqual([])
  })
})
