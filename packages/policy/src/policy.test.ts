import {
  parseManifest,
  type Admission,
  type AdmissionInput,
  type ClarityError,
  type Clock,
  type Permit,
  type Policy,
  type Principal,
  type ServiceDefinition,
} from "@clarity-runtime/contracts"
import * as fc from "fast-check"
import { setMaxListeners } from "node:events"
import { describe, expect, test } from "vitest"
import { allowAll, standardPolicy } from "./policy.ts"

const alice: Principal = { id: "user:alice", kind: "user", scopes: ["read", "call"] }
const never = new AbortController().signal
setMaxListeners(0, never)
const settled = { kind: "ok", durationMs: 1 } as const

const remote = (origin: object = {}, limits?: object) =>
  service({ type: "remote_mcp", endpoint: "https://api.example.com/mcp", ...origin }, limits)

function service(origin: object, limits?: object, id = "svc_1"): ServiceDefinition {
  const manifest = parseManifest({
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile: "", module: "api" },
    spec: { origin, ...(limits === undefined ? {} : { limits }) },
  })
  return { id, namespace: "api", manifest }
}

function input(over: Partial<AdmissionInput> & { service: ServiceDefinition }): AdmissionInput {
  return { id: "1", principal: alice, method: "tools/call", target: "echo", bytes: 100, depth: 0, ...over }
}

function permitOf(admission: Admission | Promise<Admission>): Permit {
  if (admission instanceof Promise) throw new Error("had to wait")
  if (admission.kind !== "permit") throw new Error(`no permit: ${JSON.stringify(admission)}`)
  return admission.permit
}

function refusalOf(admission: Admission | Promise<Admission>): ClarityError {
  if (admission instanceof Promise) throw new Error("had to wait")
  if (admission.kind !== "deny") throw new Error(`not denied: ${admission.kind}`)
  return admission.error
}

async function eventually(admission: Admission | Promise<Admission>): Promise<Admission> {
  if (!(admission instanceof Promise)) throw new Error("did not have to wait")
  return admission
}

/** Time that stands still until told. */
function stoppedClock(): Clock & { advance(ms: number): Promise<void> } {
  let now = 0
  const sleepers = new Set<{ at: number; wake: () => void }>()
  return {
    now: () => now,
    monotonic: () => now,
    sleep: (ms) => new Promise((wake) => sleepers.add({ at: now + ms, wake })),
    async advance(ms) {
      now += ms
      for (const sleeper of sleepers) {
        if (sleeper.at > now) continue
        sleepers.delete(sleeper)
        sleeper.wake()
      }
      await new Promise((resolve) => setImmediate(resolve))
    },
  }
}

describe("decisions", () => {
  test("defaults of a remote: 20 s of silence, 300 s in all, 1 MiB each way", () => {
    expect(permitOf(standardPolicy().admit(input({ service: remote() }), never)).limits).toEqual({
      idleMs: 20_000,
      totalMs: 300_000,
      maxResultBytes: 1_048_576,
    })
  })

  test("a wasm call has 5 s, a stdio server 60 s without a sign of life", () => {
    const policy = standardPolicy()
    const wasm = service({ type: "local_wasm", wasmPath: "a.wasm" })
    const stdio = service({ type: "local_stdio", command: "node" })
    expect(permitOf(policy.admit(input({ service: wasm }), never)).limits.idleMs).toBe(5_000)
    expect(permitOf(policy.admit(input({ service: stdio }), never)).limits.idleMs).toBe(60_000)
  })

  test.each([
    ["remote_mcp", remote({ timeoutMs: 50, maxPayloadBytes: 2048 })],
    [
      "remote_mcp by spec.limits",
      remote({ timeoutMs: 99, maxPayloadBytes: 4096 }, { timeoutMs: 50, maxPayloadBytes: 2048 }),
    ],
    ["local_stdio", service({ type: "local_stdio", command: "node" }, { timeoutMs: 50, maxPayloadBytes: 2048 })],
    ["local_wasm", service({ type: "local_wasm", wasmPath: "a.wasm" }, { timeoutMs: 50, maxPayloadBytes: 2048 })],
  ])("a manifest's own limits hold for %s", (_name, own) => {
    const policy = standardPolicy()
    expect(permitOf(policy.admit(input({ service: own, bytes: 2048 }), never)).limits).toMatchObject({
      idleMs: 50,
      maxResultBytes: 2048,
    })
    const error = refusalOf(policy.admit(input({ service: own, bytes: 2049 }), never))
    expect(error.code).toBe("payload_too_large")
    expect(error.message).toBe("request to api too large (2049 > 2048 bytes)")
  })

  test("a service that may be silent longer than the total gets that long in all", () => {
    const limits = permitOf(standardPolicy().admit(input({ service: remote({ timeoutMs: 600_000 }) }), never)).limits
    expect(limits).toMatchObject({ idleMs: 600_000, totalMs: 600_000 })
  })

  test("options take the place of the defaults, undefined ones do not", () => {
    const policy = standardPolicy({ remote: { timeoutMs: 7, maxPayloadBytes: 1024, maxConcurrency: undefined } })
    expect(permitOf(policy.admit(input({ service: remote() }), never)).limits).toMatchObject({
      idleMs: 7,
      maxResultBytes: 1024,
    })
    expect(policy.admit(input({ service: remote() }), never)).not.toBeInstanceOf(Promise)
  })

  test("wrong options are refused with their place", () => {
    for (const remote of [{ timeoutMs: 0 }, { maxConcurrency: Number.NaN }, { maxPayloadBytes: 1.5 }, { timeout: 5 }])
      expect(() => standardPolicy({ remote })).toThrow(/invalid policy limits: \$\.remote/)
  })

  test("a tool outside allowedTools answers like an unknown one and is not seen", () => {
    for (const policy of [standardPolicy(), allowAll()]) {
      const own = remote({ allowedTools: ["echo"] })
      permitOf(policy.admit(input({ service: own }), never)).settle(settled)
      for (const target of ["Echo", "drop", "echo ", "__proto__"]) {
        const error = refusalOf(policy.admit(input({ service: own, target }), never))
        expect([error.code, error.message]).toEqual(["invalid_params", `unknown tool: ${target}`])
        expect(policy.visible?.(alice, own, "tool", target)).toBe(false)
      }
      expect(policy.visible?.(alice, own, "tool", "echo")).toBe(true)
      expect(policy.visible?.(alice, own, "prompt", "drop")).toBe(true)
    }
  })

  test("an empty allow-list allows nothing", () => {
    expect(refusalOf(standardPolicy().admit(input({ service: remote({ allowedTools: [] }) }), never)).code).toBe(
      "invalid_params",
    )
  })

  test("scopes: call for tools, read or call for the rest; allowAll does not ask", () => {
    const policy = standardPolicy()
    const reader: Principal = { id: "token:r", kind: "token", scopes: ["read"] }
    const nobody: Principal = { id: "token:n", kind: "token", scopes: [] }
    const admin: Principal = { id: "token:a", kind: "token", scopes: ["admin"] }
    const own = remote()
    expect(refusalOf(policy.admit(input({ service: own, principal: reader }), never)).code).toBe("policy_denied")
    permitOf(policy.admit(input({ service: own, principal: reader, method: "prompts/get" }), never))
    expect(
      refusalOf(policy.admit(input({ service: own, principal: nobody, method: "prompts/get" }), never)).message,
    ).toBe("token:n lacks the scope 'read' for prompts/get")
    permitOf(policy.admit(input({ service: own, principal: admin }), never))
    permitOf(allowAll().admit(input({ service: own, principal: nobody }), never))
  })

  test("calls from calls end at the depth limit", () => {
    const policy = standardPolicy()
    permitOf(policy.admit(input({ service: remote(), depth: 8 }), never))
    expect(refusalOf(policy.admit(input({ service: remote(), depth: 9 }), never)).code).toBe("policy_denied")
  })

  test("a remote on a host that is not allowed is never called", () => {
    const policy = standardPolicy({ remote: { allowedHosts: ["other.example"] } })
    const error = refusalOf(policy.admit(input({ service: remote() }), never))
    expect(error.message).toBe("remote endpoint host 'api.example.com' is not in CLARITY_REMOTE_ALLOWED_HOSTS")
    permitOf(policy.admit(input({ service: service({ type: "local_stdio", command: "node" }) }), never))
  })

  test("an aborted call takes no place", () => {
    const policy = standardPolicy()
    expect(refusalOf(policy.admit(input({ service: remote() }), AbortSignal.abort())).code).toBe("cancelled")
    expect(policy.load().active).toBe(0)
  })
})

describe("places", () => {
  const narrow = remote({ maxConcurrency: 2 })
  const as = (id: string): Principal => ({ ...alice, id })

  test("a free place is given at once and nothing is remembered afterwards", () => {
    const policy = standardPolicy()
    const permits = Array.from({ length: 50 }, (_, n) =>
      permitOf(policy.admit(input({ principal: as(`p${n}`), service: { ...narrow, id: `svc_${n}` } }), never)),
    )
    expect(policy.load()).toEqual({ active: 50, waiting: 0, services: 50, principals: 50 })
    for (const permit of permits) {
      permit.settle(settled)
      permit.settle(settled)
    }
    expect(policy.load()).toEqual({ active: 0, waiting: 0, services: 0, principals: 0 })
  })

  test("the third waits until one of the two is over", async () => {
    const policy = standardPolicy()
    const first = permitOf(policy.admit(input({ service: narrow }), never))
    permitOf(policy.admit(input({ service: narrow }), never))
    const third = policy.admit(input({ service: narrow }), never)
    expect(policy.load()).toMatchObject({ active: 2, waiting: 1 })
    first.settle(settled)
    expect((await eventually(third)).kind).toBe("permit")
    expect(policy.load()).toMatchObject({ active: 2, waiting: 0 })
  })

  test("a full queue refuses by name with the numbers and a time to come back", async () => {
    const policy = standardPolicy({ inFlight: { queueLength: 1 } })
    const first = permitOf(policy.admit(input({ service: narrow }), never))
    permitOf(policy.admit(input({ service: narrow }), never))
    const third = policy.admit(input({ service: narrow }), never)
    const error = refusalOf(policy.admit(input({ service: narrow }), never))
    expect(error.code).toBe("rate_limited")
    expect(error.message).toBe("concurrency limit of api reached (2/2), and 1 calls are waiting")
    expect(error.data.retryAfterMs).toBeGreaterThan(0)
    first.settle(settled)
    expect((await eventually(third)).kind).toBe("permit")
  })

  test("nobody waits longer than the limit, and who was refused leaves nothing behind", async () => {
    const clock = stoppedClock()
    const policy = standardPolicy({ clock })
    const held = [1, 2].map(() => permitOf(policy.admit(input({ service: narrow }), never)))
    const third = eventually(policy.admit(input({ service: narrow }), never))
    await clock.advance(6_000)
    const fourth = eventually(policy.admit(input({ service: narrow }), never))
    await clock.advance(4_000)
    expect(await third).toMatchObject({ kind: "deny", error: { code: "rate_limited" } })
    expect(policy.load()).toMatchObject({ active: 2, waiting: 1 })
    await clock.advance(6_000)
    expect(refusalOf(await fourth).message).toBe("concurrency limit of api reached (2/2), no place within 10000 ms")
    for (const permit of held) permit.settle(settled)
    expect(policy.load()).toEqual({ active: 0, waiting: 0, services: 0, principals: 0 })
  })

  test("a caller that hangs up while waiting gives up its turn", async () => {
    const policy = standardPolicy()
    const held = [1, 2].map(() => permitOf(policy.admit(input({ service: narrow }), never)))
    const caller = new AbortController()
    const third = eventually(policy.admit(input({ service: narrow }), caller.signal))
    const fourth = eventually(policy.admit(input({ service: narrow }), never))
    caller.abort()
    expect(refusalOf(await third).code).toBe("cancelled")
    held[0]?.settle(settled)
    expect((await fourth).kind).toBe("permit")
  })

  test("principals take turns, however many calls one of them has waiting", async () => {
    const policy = standardPolicy()
    const order: string[] = []
    const held = permitOf(policy.admit(input({ service: remote({ maxConcurrency: 1 }) }), never))
    const waits: Promise<void>[] = []
    const ask = (id: string) => {
      const serve = async () => {
        const admission = await eventually(
          policy.admit(input({ principal: as(id), service: remote({ maxConcurrency: 1 }) }), never),
        )
        order.push(id)
        permitOf(admission).settle(settled)
      }
      waits.push(serve())
    }
    for (let n = 0; n < 5; n++) ask("greedy")
    ask("modest")
    ask("other")
    ask("modest")
    held.settle(settled)
    await Promise.all(waits)
    expect(order).toEqual(["greedy", "modest", "other", "greedy", "modest", "greedy", "greedy", "greedy"])
  })

  test("in a full queue the greedy make room for the modest", async () => {
    const policy = standardPolicy({ inFlight: { queueLength: 4 } })
    const one = remote({ maxConcurrency: 1 })
    permitOf(policy.admit(input({ service: one }), never))
    const greedy = [1, 2, 3, 4].map(() =>
      eventually(policy.admit(input({ principal: as("greedy"), service: one }), never)),
    )
    const modest = policy.admit(input({ principal: as("modest"), service: one }), never)
    expect(modest).toBeInstanceOf(Promise)
    expect(refusalOf((await greedy[3]) as Admission).code).toBe("rate_limited")
    expect(policy.load().waiting).toBe(4)
    expect(refusalOf(policy.admit(input({ principal: as("greedy"), service: one }), never)).code).toBe("rate_limited")
  })

  test("in flight: so many per principal, so many in all", () => {
    const policy = standardPolicy({ inFlight: { perPrincipal: 2, total: 3 } })
    const wide = remote({ maxConcurrency: 100 })
    const first = permitOf(policy.admit(input({ service: wide }), never))
    permitOf(policy.admit(input({ service: wide }), never))
    const own = refusalOf(policy.admit(input({ service: wide }), never))
    expect([own.code, own.message]).toEqual(["rate_limited", "too many calls of user:alice in flight (2/2)"])
    permitOf(policy.admit(input({ service: wide, principal: as("bob") }), never))
    const all = refusalOf(policy.admit(input({ service: wide, principal: as("carol") }), never))
    expect([all.code, all.message]).toEqual(["unavailable", "too many calls in flight (3/3)"])
    first.settle(settled)
    permitOf(policy.admit(input({ service: wide, principal: as("carol") }), never))
  })

  test("a parked call holds no place and takes one again when it goes on", async () => {
    const policy = standardPolicy()
    const one = remote({ maxConcurrency: 1 })
    const parked = permitOf(policy.admit(input({ service: one }), never))
    parked.suspend()
    expect(policy.load()).toMatchObject({ active: 0, services: 0, principals: 0 })
    const other = permitOf(policy.admit(input({ service: one }), never))
    const back = parked.resume(never)
    expect(policy.load()).toMatchObject({ active: 1, waiting: 1 })
    other.settle(settled)
    await back
    expect(policy.load()).toMatchObject({ active: 1, waiting: 0 })
    parked.settle(settled)
    expect(policy.load().active).toBe(0)
    await expect(parked.resume(never)).rejects.toMatchObject({ code: "cancelled" })
  })

  test("a call that goes on comes before its principal's new ones, even past a full queue", async () => {
    const policy = standardPolicy({ inFlight: { queueLength: 1 } })
    const one = remote({ maxConcurrency: 1 })
    const parked = permitOf(policy.admit(input({ service: one }), never))
    parked.suspend()
    const running = permitOf(policy.admit(input({ service: one }), never))
    const fresh = eventually(policy.admit(input({ service: one }), never))
    const back = parked.resume(never)
    running.settle(settled)
    await back
    expect(policy.load()).toMatchObject({ active: 1, waiting: 1 })
    parked.settle(settled)
    expect((await fresh).kind).toBe("permit")
  })

  test("a parked call that is settled while it waits to go on leaves the queue", async () => {
    const policy = standardPolicy()
    const one = remote({ maxConcurrency: 1 })
    const parked = permitOf(policy.admit(input({ service: one }), never))
    parked.suspend()
    const running = permitOf(policy.admit(input({ service: one }), never))
    const back = parked.resume(never)
    parked.settle(settled)
    await expect(back).rejects.toMatchObject({ code: "cancelled" })
    running.settle(settled)
    expect(policy.load()).toEqual({ active: 0, waiting: 0, services: 0, principals: 0 })
  })

  test("a service given more places lets waiting calls in with the next call", async () => {
    const policy = standardPolicy()
    permitOf(policy.admit(input({ service: remote({ maxConcurrency: 1 }) }), never))
    const second = eventually(policy.admit(input({ service: remote({ maxConcurrency: 1 }) }), never))
    permitOf(policy.admit(input({ service: remote({ maxConcurrency: 3 }) }), never))
    expect((await second).kind).toBe("permit")
    expect(policy.load().active).toBe(3)
  })

  test("whatever happens: never over a limit, nobody lost, nothing left", async () => {
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.record({ do: fc.constant("ask" as const), who: fc.nat(3), where: fc.nat(1) }) },
      {
        weight: 4,
        arbitrary: fc.record({
          do: fc.constantFrom("settle" as const, "park" as const, "back" as const),
          which: fc.nat(20),
        }),
      },
      { weight: 1, arbitrary: fc.record({ do: fc.constant("hang up" as const), which: fc.nat(20) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.nat(12_000) }) },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 120 }), async (steps) => {
        const clock = stoppedClock()
        const max = 3
        const bounds = { perPrincipal: 6, total: 12, queueLength: 4, queueMs: 5_000 }
        const policy = standardPolicy({ clock, inFlight: bounds })
        const services = [0, 1].map((n) => ({ ...remote({ maxConcurrency: max }), id: `svc_${n}` }))
        const permits: { permit: Permit; where: number; holds: boolean }[] = []
        const callers: AbortController[] = []
        let answered = 0
        let asked = 0
        const hold = (permit: Permit, where: number) => permits.push({ permit, where, holds: true })
        for (const one of steps) {
          if (one.do === "ask") {
            asked++
            const caller = new AbortController()
            callers.push(caller)
            const answer = policy.admit(
              input({ principal: as(`p${one.who}`), service: services[one.where] as ServiceDefinition }),
              caller.signal,
            )
            const arrived = (admission: Admission) => {
              answered++
              if (admission.kind === "permit") hold(admission.permit, one.where)
            }
            if (answer instanceof Promise) void answer.then(arrived)
            else arrived(answer)
          } else if (one.do === "wait") await clock.advance(one.ms)
          else if (one.do === "hang up") callers[one.which]?.abort()
          else {
            const entry = permits[one.which % Math.max(1, permits.length)]
            if (entry === undefined) continue
            if (one.do === "settle") {
              entry.permit.settle(settled)
              entry.holds = false
            } else if (one.do === "park") {
              entry.permit.suspend()
              entry.holds = false
            } else if (!entry.holds) {
              void entry.permit.resume(never).then(
                () => (entry.holds = true),
                () => (entry.holds = false),
              )
            }
          }
          await clock.advance(0)
          const load = policy.load()
          expect(load.active).toBeLessThanOrEqual(max * 2)
          expect(load.active + load.waiting).toBeLessThanOrEqual(bounds.total)
          expect(load.services).toBeLessThanOrEqual(2)
          for (const where of [0, 1])
            expect(permits.filter((entry) => entry.holds && entry.where === where).length).toBeLessThanOrEqual(max)
        }
        for (let round = 0; round < 60; round++) {
          for (const entry of permits) entry.permit.settle(settled)
          await clock.advance(1_000)
        }
        expect(answered).toBe(asked)
        expect(policy.load()).toEqual({ active: 0, waiting: 0, services: 0, principals: 0 })
      }),
      { numRuns: 150 },
    )
  })

  test("a flood of one principal delays another by at most its own turn", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 4 }), async (flood, max) => {
        const policy: Policy = standardPolicy()
        const busy = remote({ maxConcurrency: max })
        const held = Array.from({ length: max }, () => permitOf(policy.admit(input({ service: busy }), never)))
        const flooded = Array.from({ length: flood }, () =>
          eventually(policy.admit(input({ principal: as("greedy"), service: busy }), never)),
        )
        let served = false
        const modest = eventually(policy.admit(input({ principal: as("modest"), service: busy }), never)).then(
          () => (served = true),
        )
        held[0]?.settle(settled)
        permitOf(await (flooded[0] as Promise<Admission>)).settle(settled)
        await modest
        expect(served).toBe(true)
      }),
    )
  })
})
