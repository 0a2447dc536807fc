import { ask, legacyClient, post, send, type Message } from "../../../test/e2e/support/mcp.ts"
import { manifest, remote, type Daemon } from "../../../test/e2e/support/daemon.ts"
import { isolation } from "../../campaigns/isolation.ts"
import type { Case } from "../finding.ts"
import { answer, registerRogue, said, serveRogue, textFrom } from "../rogue.ts"
import { serveRecorder } from "../recorder.ts"
import { withTokens } from "../tokens.ts"

const version = { "mcp-protocol-version": "2025-11-25" }

/** A legacy session of whoever has these headers. */
async function sessionOf({ url }: Daemon, headers: Record<string, string>, path = ""): Promise<string> {
  const params = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "attack", version: "1" } }
  const response = await post(
    `${url}/mcp${path}`,
    JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params }),
    { headers },
  )
  await response.text()
  return response.headers.get("mcp-session-id") ?? ""
}

const list = (id: string) => ({
  body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" }),
  headers: { "mcp-session-id": id, ...version },
})

/** What a service asks its caller, and the state it hands out for the answer. */
const question = {
  resultType: "input_required",
  inputRequests: {
    name: {
      method: "elicitation/create",
      params: {
        mode: "form",
        message: "Your name?",
        requestedSchema: { type: "object", properties: { name: { type: "string" } } },
      },
    },
  },
  requestState: "upstream-state",
}

/** Sessions, states and caches: what belongs to one caller is nobody else's. */
export const sessionCases: readonly Case[] = [
  {
    id: "ISO-01",
    async run({ same, fast }) {
      const calls = fast ? 500 : 100_000
      const { figures, violations } = await isolation({ calls, clients: fast ? 20 : 200, seed: 11 })
      same(
        `${calls} interleaved calls with equal ids, one in ten given up: foreign answers`,
        0,
        figures["foreign answers"],
      )
      same("anything else that is not as promised", [], violations)
    },
  },
  {
    id: "ISO-02",
    quick: true,
    async run({ stand, same, holds }) {
      const { daemon } = await stand.open()
      const sockets = new Set<object>()
      const reused: string[] = []
      const late: (() => Promise<boolean>)[] = []
      const upstream = stand.own(
        await serveRogue({
          call(asked, response, request) {
            const key = String(asked.params?.["arguments"]?.key)
            if (sockets.has(request.socket)) reused.push(key)
            if (!key.startsWith("late")) return answer(response, asked, said(key))
            const { socket } = request
            const cut = new Promise<boolean>((resolve) => {
              response.once("close", () => resolve(true))
              setTimeout(() => resolve(false), 2000).unref()
            })
            late.push(async () => {
              const wasCut = await cut
              sockets.add(socket)
              answer(response, asked, said(key))
              return wasCut
            })
          },
        }),
      )
      const { serviceId } = await registerRogue(daemon, "late", upstream.url)
      const got: string[] = []
      const cut: boolean[] = []
      for (let round = 0; round < 10; round++) {
        const going = new AbortController()
        const asked = send(
          daemon.url,
          "modern",
          "tools/call",
          { name: "late__work", arguments: { key: `late ${round}` } },
          { signal: going.signal },
        ).catch(() => undefined)
        while (late.length <= round) await new Promise((resolve) => setTimeout(resolve, 2))
        going.abort()
        await asked
        cut.push((await late[round]?.()) ?? false)
        got.push(await textFrom(daemon, "late__work", { key: `next ${round}` }))
      }
      same(
        "ten calls after ten that were given up and answered late",
        Array.from({ length: 10 }, (_, round) => `next ${round}`),
        got,
      )
      holds("connections of given up calls", "closed", cut.every(Boolean), cut)
      holds("connections of given up calls, later", "never used again", reused.length === 0, reused)
      await daemon.client.removeService({ id: serviceId })
    },
  },
  {
    id: "ISO-04",
    async run({ stand, same }) {
      const { daemon, bearer } = await withTokens(stand, {
        reader: { scopes: ["read"], reach: ["canary"] },
        other: { scopes: ["read", "call"], reach: ["nothing"] },
      })
      const lists: Record<string, Message> = {}
      for (const name of ["admin", "reader", "other"])
        lists[name] = (await ask(daemon.url, "modern", "tools/list", {}, { headers: bearer(name) }))["result"]
      for (const name of Object.keys(lists))
        same(`cacheScope of the list of ${name}`, "private", lists[name]?.["cacheScope"])
      const names = (name: string) =>
        ((lists[name]?.["tools"] ?? []) as Message[])
          .map((tool) => String(tool["name"]))
          .filter((tool) => tool.startsWith("canary__"))
      same("tools of the service for who reaches it", true, names("reader").length > 0)
      same("tools of the service for who does not", [], names("other"))
    },
  },
  {
    id: "CACHE-01",
    async run({ stand, same }) {
      const { daemon, bearer } = await withTokens(stand, {
        small: { scopes: ["read", "call"], reach: ["canary/echo"] },
      })
      const seen = async (name: string) =>
        ((await ask(daemon.url, "modern", "tools/list", {}, { headers: bearer(name) }))["result"].tools as Message[])
          .map((tool) => String(tool["name"]))
          .filter((tool) => tool.startsWith("canary__"))
          .toSorted()
      for (let round = 0; round < 20; round++) {
        same(
          `the list of an administrator, round ${round}`,
          ["canary__danger", "canary__echo", "canary__headered"],
          await seen("admin"),
        )
        same(`the list of who reaches one tool, round ${round}`, ["canary__echo"], await seen("small"))
      }
      const direct = await ask(
        daemon.url,
        "modern",
        "tools/call",
        { name: "canary__danger", arguments: {} },
        { headers: bearer("small") },
      )
      same("a call of a tool that was only in the other list", -32602, direct["error"]?.code)
    },
  },
  {
    id: "SES-01",
    async run({ stand, same }) {
      const { daemon, bearer } = await withTokens(stand, {
        alice: { scopes: ["read", "call"] },
        bob: { scopes: ["read", "call"] },
      })
      const of = await sessionOf(daemon, bearer("alice"))
      const use = async (name: string, id: string, path = "") => {
        const { body, headers } = list(id)
        const response = await post(`${daemon.url}/mcp${path}`, body, { headers: { ...headers, ...bearer(name) } })
        await response.text()
        return response.status
      }
      same("her own session", 200, await use("alice", of))
      same("her session, used by another principal", 404, await use("bob", of))
      same("her session on another endpoint", 404, await use("alice", of, "/canary"))
      const get = await fetch(`${daemon.url}/mcp`, {
        headers: { ...bearer("bob"), "mcp-session-id": of, accept: "text/event-stream" },
      })
      same("her stream, opened by another principal", 404, get.status)
      const gone = await fetch(`${daemon.url}/mcp`, {
        method: "DELETE",
        headers: { ...bearer("bob"), "mcp-session-id": of },
      })
      same("her session, ended by another principal", 404, gone.status)
      same("her session after all that", 200, await use("alice", of))
      await fetch(`${daemon.url}/mcp`, { method: "DELETE", headers: { ...bearer("alice"), "mcp-session-id": of } })
      same("her session after she has ended it", 404, await use("alice", of))
      const ids = new Set<string>()
      for (let round = 0; round < 200; round++) ids.add(await sessionOf(daemon, bearer("alice")))
      same(
        "two hundred sessions that are all different, of 128 bits and more",
        [200, true],
        [ids.size, [...ids].every((id) => id.length >= 22)],
      )
      const client = await legacyClient(daemon.url, "", bearer("alice"))
      const late = await sessionOf(daemon, bearer("alice"))
      await daemon.client.revokeToken({ name: "alice" })
      same("a session whose token was revoked", 401, await use("alice", late))
      await client.close().catch(() => undefined)
    },
  },
  {
    id: "SES-06",
    async run({ stand, same }) {
      const { daemon, bearer } = await withTokens(stand, {
        alice: { scopes: ["read", "call"] },
        bob: { scopes: ["read", "call"] },
      })
      const tools = [
        { name: "work", inputSchema: { type: "object" } },
        { name: "other", inputSchema: { type: "object" } },
      ]
      const upstream = stand.own(
        await serveRogue({
          first(request, response, asked) {
            if (asked.method === "server/discover") {
              answer(response, asked, {
                result: { resultType: "complete", supportedVersions: ["2026-07-28"], capabilities: { tools: {} } },
              })
              return true
            }
            if (asked.method === "tools/list" && request.headers["mcp-protocol-version"] === "2026-07-28") {
              answer(response, asked, { result: { resultType: "complete", tools, ttlMs: 1000, cacheScope: "private" } })
              return true
            }
            if (asked.method !== "tools/call") return false
            const done = asked.params?.["requestState"] !== undefined
            answer(response, asked, {
              result: done
                ? { ...said(`done with ${asked.params?.["requestState"]}`).result, resultType: "complete" }
                : question,
            })
            return true
          },
        }),
      )
      await daemon.client.applyManifest({
        manifest: { ...manifest("asking", remote(upstream.url), { era: "modern" }) },
        startNow: true,
      })
      const meta = { "io.modelcontextprotocol/clientCapabilities": { elicitation: { form: {} } } }
      const call = (who: string, more: object = {}, name = "asking__work", method = "tools/call") =>
        ask(daemon.url, "modern", method, { name, arguments: { x: 1 }, ...more }, { headers: bearer(who), meta })
      const first = await call("alice")
      const state = String(first["result"]?.requestState ?? "")
      same(
        "a call that asks back",
        ["input_required", true, false],
        [first["result"]?.resultType, state.length > 40, state.includes("upstream-state")],
      )
      const inputResponses = { name: { action: "accept", content: { name: "x" } } }
      const tried = async (what: string, made: Promise<Message>) =>
        same(what, -32602, (await made)["error"]?.code ?? (await made)["result"]?.content?.[0]?.text)
      for (const at of [0, 5, Math.floor(state.length / 2), state.length - 1]) {
        const changed = `${state.slice(0, at)}${state[at] === "A" ? "B" : "A"}${state.slice(at + 1)}`
        await tried(`character ${at} changed`, call("alice", { requestState: changed, inputResponses }))
      }
      await tried("cut short", call("alice", { requestState: state.slice(0, -4), inputResponses }))
      await tried("with more behind it", call("alice", { requestState: `${state}AAAA`, inputResponses }))
      await tried("the upstream's own state", call("alice", { requestState: "upstream-state", inputResponses }))
      await tried("of another principal", call("bob", { requestState: state, inputResponses }))
      await tried("for another tool", call("alice", { requestState: state, inputResponses }, "asking__other"))
      await tried("for other arguments", call("alice", { requestState: state, inputResponses, arguments: { x: 2 } }))
      await tried("for another service", call("alice", { requestState: state, inputResponses }, "canary__echo"))
      const good = await call("alice", { requestState: state, inputResponses })
      same("as it is, of whom it was given to", "done with upstream-state", good["result"]?.content?.[0]?.text)
    },
  },
  {
    id: "PAS-01",
    async run({ stand, same }) {
      const { daemon, recorder, bearer } = await withTokens(stand, { alice: { scopes: ["read", "call"] } })
      for (const headers of [
        bearer("alice"),
        bearer("admin"),
        { "x-clarity-token": bearer("alice").authorization.slice(7) },
      ] as Record<string, string>[]) {
        const before = recorder.headers.length
        for (const era of ["modern", "legacy"] as const)
          await ask(daemon.url, era, "tools/call", { name: "canary__echo", arguments: {} }, { headers })
        const sent = recorder.headers.slice(before)
        same(
          `what the upstream got of ${Object.keys(headers)[0]}, in ${sent.length} requests`,
          [],
          sent.flatMap((each) => Object.keys(each).filter((name) => /^(?:authorization|x-clarity-token)$/.test(name))),
        )
      }
    },
  },
  {
    id: "PAS-02",
    quick: true,
    async run({ stand, same, holds }) {
      const { daemon, recorder } = await stand.open()
      for (const [name, value] of Object.entries({
        cookie: "session=CANARY",
        "x-api-key": "CANARY",
        "proxy-authorization": "Basic CANARY",
        authorization: "Bearer CANARY",
        "x-auth-token": "CANARY",
        "x-forwarded-for": "10.0.0.1",
        "x-forwarded-host": "CANARY",
        forwarded: "for=CANARY",
        "x-real-ip": "10.0.0.1",
        via: "1.1 CANARY",
        "x-amz-security-token": "CANARY",
        "x-github-token": "CANARY",
        baggage: "user=CANARY",
        "x-anything": "CANARY",
        "user-agent": "CANARY",
        referer: "http://CANARY/",
        "x-clarity-run-id": "CANARY",
        "mcp-session-id": "",
      })) {
        const before = recorder.headers.length
        if (name !== "mcp-session-id")
          await ask(
            daemon.url,
            "modern",
            "tools/call",
            { name: "canary__echo", arguments: {} },
            { headers: { [name]: value } },
          )
        const sent = recorder.headers.slice(before)
        if (name === "baggage")
          holds("baggage, which traces carry", "passed on or not, as the trace context says", true)
        else
          same(
            `${name} of the client`,
            false,
            sent.some((each) => JSON.stringify(each).includes("CANARY") || each["x-forwarded-for"] !== undefined),
          )
      }
    },
  },
  {
    id: "PAS-04",
    async run({ stand, same }) {
      const daemon = await stand.fresh({ env: { SECRET_ONE: "one-CANARY", SECRET_TWO: "two-CANARY" } })
      const one = stand.own(await serveRecorder())
      const two = stand.own(await serveRecorder())
      await daemon.register(manifest("one", remote(one.url, { authRef: "env:SECRET_ONE" }), { era: "legacy" }))
      await daemon.register(
        manifest("two", remote(two.url, { authRef: "header_env:X-Api-Key:SECRET_TWO" }), { era: "legacy" }),
      )
      for (let round = 0; round < 5; round++)
        for (const name of ["one", "two"])
          await ask(daemon.url, "modern", "tools/call", { name: `${name}__echo`, arguments: {} })
      const at = (recorder: typeof one) => JSON.stringify(recorder.headers)
      same("the first service sees its own secret", true, at(one).includes("one-CANARY"))
      same("the first service sees the second's", false, at(one).includes("two-CANARY"))
      same("the second service sees its own secret", true, at(two).includes("two-CANARY"))
      same("the second service sees the first's", false, at(two).includes("one-CANARY"))
    },
  },
]
