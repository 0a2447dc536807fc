import type { ServiceView, SourceSnapshot } from "@clarity-runtime/contracts"
import { describe, expect, it } from "vitest"
import { fake, type FakeService } from "../../test-support/served.ts"
import { createCatalogBuilder } from "./build.ts"
import { mergeInstructions } from "./instructions.ts"
import { fit, maxNameLength, prefixedName } from "./names.ts"
import { pageOf } from "./pages.ts"
import { exposeResult, labelOf, prefixedUris, uriLabel } from "./uris.ts"

function view(service: FakeService, changes: Partial<ServiceView> = {}): ServiceView {
  const { definition, interface: face } = fake(service)
  return {
    ...definition,
    lifecycle: "RUNNING",
    health: "HEALTHY",
    interface: face,
    stale: false,
    listed: true,
    ...changes,
  }
}

const snapshot = (...services: ServiceView[]): SourceSnapshot => ({ generation: 1, services })
const none = () => "x"

describe("names", () => {
  it("are prefixed, at most 64 characters, deterministic and distinct", () => {
    expect(prefixedName("fs", "read_file")).toBe("fs__read_file")
    const long = "a".repeat(100)
    const cut = prefixedName("fs", `${long}1`)
    expect(cut).toHaveLength(maxNameLength)
    expect(cut).toBe(prefixedName("fs", `${long}1`))
    expect(cut).not.toBe(prefixedName("fs", `${long}2`))
    expect(fit("x".repeat(64))).toBe("x".repeat(64))
  })

  it("find their way back through the catalog, however they were cut", () => {
    const name = `tool_${"long".repeat(30)}`
    const { common } = createCatalogBuilder()(snapshot(view({ namespace: "a", tools: { [name]: none } })))
    const exposed = common.tools[0]?.item.name ?? ""
    expect(exposed.length).toBeLessThanOrEqual(64)
    expect(common.tool(exposed)).toMatchObject({ name, service: { namespace: "a" } })
    expect(common.tool(name)).toBeUndefined()
  })

  it("of a service with prefix on-collision stay bare until somebody else has them", () => {
    const own = (namespace: string, ...tools: string[]) =>
      view({ namespace, prefix: "on-collision", tools: Object.fromEntries(tools.map((tool) => [tool, none])) })
    const names = (...services: ServiceView[]) =>
      createCatalogBuilder()(snapshot(...services)).common.tools.map(({ item }) => item.name)
    expect(names(own("a", "read", "write"))).toEqual(["read", "write"])
    expect(names(own("a", "read", "write"), own("b", "read"))).toEqual(["a__read", "write", "b__read"])
    expect(names(own("a", "b__x"), view({ namespace: "b", tools: { x: none } }))).toEqual(["a__b__x", "b__x"])
  })
})

describe("resource URIs", () => {
  const map = prefixedUris("my_notes")
  it.each(["file:///a/b", "notes://all", "test://template/{id}/data", "ui://page/index.html", "a+b://c"])(
    "%s comes back as it was",
    (uri) => {
      const out = map.out(uri)
      expect(out).not.toBe(uri)
      expect(map.in(out)).toBe(uri)
      expect(labelOf(out)).toBe(uriLabel("my_notes"))
      expect(uri.startsWith("ui://")).toBe(out.startsWith("ui://"))
      expect(URL.canParse(out.replaceAll(/[{}]/g, ""))).toBe(true)
    },
  )

  it("of two services never collide, and belong to their own only", () => {
    const face = { resources: [{ uri: "x://same", name: "x" }], capabilities: { resources: {} } }
    const { common } = createCatalogBuilder()(
      snapshot(view({ namespace: "a", face }), view({ namespace: "a_b", face })),
    )
    const uris = common.resources.map(({ item }) => item.uri)
    expect(new Set(uris).size).toBe(2)
    expect(uris.map((uri) => common.resource(uri)?.service.namespace)).toEqual(["a", "a_b"])
    expect(common.resource("x://same")).toBeUndefined()
    expect(prefixedUris("a").in(uris[1] ?? "")).toBeUndefined()
  })

  it("give namespaces that begin with a digit a lawful scheme", () => {
    expect(URL.canParse(prefixedUris("3d").out("x://y"))).toBe(true)
    expect(uriLabel("3d")).not.toBe(uriLabel("s_3d"))
  })

  it("are rewritten in links, embedded resources, reads, prompts and page references, and nowhere else", () => {
    const result = {
      content: [
        { type: "text", text: "see x://1" },
        { type: "resource_link", uri: "x://1", name: "one" },
        { type: "resource", resource: { uri: "x://2", text: "t" } },
      ],
      structuredContent: { uri: "x://3" },
    }
    expect(exposeResult("tools/call", result, map)).toEqual({
      content: [
        { type: "text", text: "see x://1" },
        { type: "resource_link", uri: "my-notes+x://1", name: "one" },
        { type: "resource", resource: { uri: "my-notes+x://2", text: "t" } },
      ],
      structuredContent: { uri: "x://3" },
    })
    expect(result.content[1]).toHaveProperty("uri", "x://1")
    expect(exposeResult("resources/read", { contents: [{ uri: "x://1", text: "" }] }, map)).toEqual({
      contents: [{ uri: "my-notes+x://1", text: "" }],
    })
    const message = { role: "user", content: { type: "resource", resource: { uri: "x://1" } } }
    expect(exposeResult("prompts/get", { messages: [message] }, map)).toMatchObject({
      messages: [{ content: { resource: { uri: "my-notes+x://1" } } }],
    })
    const tool = {
      name: "t",
      inputSchema: {},
      _meta: { ui: { resourceUri: "ui://p/q", x: 1 }, "ui/resourceUri": "ui://p/q" },
    }
    const { common } = createCatalogBuilder()(snapshot(view({ namespace: "my_notes", face: { tools: [tool] } })))
    expect(common.tools[0]?.item["_meta"]).toEqual({
      ui: { resourceUri: "ui://my-notes.p/q", x: 1 },
      "ui/resourceUri": "ui://my-notes.p/q",
    })
  })
})

describe("the catalog", () => {
  it("lists nothing of what is stopped, and hides nothing else because of it", () => {
    const build = createCatalogBuilder()
    const { common, of } = build(
      snapshot(
        view({ namespace: "a", tools: { x: none } }),
        view({ namespace: "b", tools: { y: none } }, { listed: false }),
      ),
    )
    expect(common.tools.map(({ item }) => item.name)).toEqual(["a__x"])
    expect(of("b")?.tools).toEqual([])
    expect(of("c")).toBeUndefined()
  })

  it("declares what at least one service can do", () => {
    const build = createCatalogBuilder()
    const { common } = build(
      snapshot(
        view({ namespace: "a", face: { capabilities: { resources: { subscribe: true }, completions: {} } } }),
        view({ namespace: "b", face: { capabilities: { prompts: {}, logging: {} } } }),
      ),
    )
    expect(common.capabilities).toEqual({
      tools: { listChanged: true },
      prompts: { listChanged: true },
      resources: { subscribe: true, listChanged: true },
      completions: {},
      logging: {},
    })
  })

  it("merges instructions under headings, bounded", () => {
    expect(
      mergeInstructions([
        { heading: "a", text: " do x " },
        { heading: "b", text: undefined },
        { heading: "c", text: "do y" },
      ]),
    ).toBe("## a\n\ndo x\n\n## c\n\ndo y")
    const many = Array.from({ length: 100 }, (_, i) => ({ heading: `s${i}`, text: "z".repeat(5000) }))
    expect(mergeInstructions(many)?.length).toBeLessThan(20_000)
    expect(mergeInstructions([])).toBeUndefined()
  })

  it("goes on behind the last item even when that item is gone", () => {
    const entries = (...names: [string, string][]) =>
      names.map(([namespace, name]) => ({
        item: { name: `${namespace}__${name}` },
        service: view({ namespace }),
        name,
      }))
    const all = entries(["a", "1"], ["a", "2"], ["b", "1"], ["b", "2"])
    const first = pageOf(all, undefined, 2, undefined)
    expect(first.items).toHaveLength(2)
    expect(pageOf(all, first.nextCursor, 2, undefined)).toMatchObject({
      items: [{ name: "b__1" }, { name: "b__2" }],
      nextCursor: undefined,
    })
    expect(pageOf(entries(["b", "1"]), first.nextCursor, 2, undefined).items).toEqual([{ name: "b__1" }])
    expect(() => pageOf(all, "", 2, undefined)).toThrow(/cursor/)
    expect(() => pageOf(all, Buffer.from("[1,2]").toString("base64url"), 2, undefined)).toThrow(/cursor/)
  })

  it("tells nobody by its cursor what is hidden from them", () => {
    const all = ["1", "2", "3"].map((name) => ({ item: { name }, service: view({ namespace: "a" }), name }))
    const cursor = (...position: string[]) => Buffer.from(JSON.stringify(position)).toString("base64url")
    const visible = ({ name }: { name: string }) => name !== "1"
    expect(pageOf(all, cursor("a", "1"), 9, visible)).toEqual(pageOf(all, cursor("a", "nothing"), 9, visible))
    expect(pageOf(all, cursor("a", "2"), 9, visible).items).toEqual([{ name: "3" }])
    const last = pageOf(all, undefined, 2, ({ name }) => name !== "3")
    expect(last).toEqual({ items: [{ name: "1" }, { name: "2" }], nextCursor: undefined })
  })
})
