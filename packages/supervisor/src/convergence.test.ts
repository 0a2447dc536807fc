import { ClarityError, type Lease } from "@clarity-runtime/contracts"
import { fakeBackend, remoteManifest, stdioManifest } from "@clarity-runtime/testkit"
import * as fc from "fast-check"
import { expect, test } from "vitest"
import { caller, supervised, workshop } from "../test/harness.ts"
import { wantedOf } from "./desired.ts"

const acts = [
  "start",
  "stop",
  "restart",
  "unquarantine",
  "introspect",
  "acquire",
  "release",
  "break",
  "die",
  "change",
  "disable",
  "remove",
  "put",
  "lists",
] as const
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom(...acts) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 40_000 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("weather" as const), open: fc.constantFrom("good", "fails", "hangs") }),
  },
)

test("whatever happens: only legal moves, one shared instance beside draining ones, and what runs becomes what is wanted", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 5, maxLength: 60 }),
      fc.constantFrom("eager", "lazy"),
      fc.boolean(),
      fc.infiniteStream(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })),
      async (steps, start, remote, dice) => {
        let weather = "good"
        let command = 0
        const shop = workshop()
        shop.open = async (_definition, signal) => {
          if (weather === "fails") throw new ClarityError("unavailable", "it fails")
          if (weather === "hangs")
            await new Promise((_resolve, reject) =>
              signal.addEventListener("abort", () => reject(new Error("undone")), { once: true }),
            )
          return fakeBackend({ tools: { hello: "x" } })
        }
        const manifest = (enabled = true) => {
          const spec = { start, enabled } as const
          const metadata = { serviceId: "mine" }
          if (remote) return remoteManifest({ spec, metadata, origin: { endpoint: `https://h${command}.example/` } })
          return stdioManifest({ spec, metadata, origin: { args: [String(command)] } })
        }
        const house = supervised([manifest()], { shop, random: () => dice.next().value ?? 0 })
        const leases: Lease[] = []
        const pending: Promise<unknown>[] = []
        const begun = (promise: Promise<unknown>) => {
          pending.push(
            promise.catch((error: unknown) => {
              if (!(error instanceof ClarityError) || error.code === "internal") throw error
            }),
          )
        }

        let newest = 0
        const leased = (lease: Lease) => {
          const index = shop.opened.findIndex(({ backend }) => backend === lease.backend)
          // Giving an older one after a newer one would mean two at once.
          expect(index).toBeGreaterThanOrEqual(newest)
          newest = index
          leases.push(lease)
        }
        const look = () => {
          const shared = shop.alive("mine").filter(({ backend }) => {
            return !leases.some((lease) => lease.backend === backend) && backend.disposals === 0
          })
          expect(shared.length).toBeLessThanOrEqual(1)
        }
        const act = (kind: (typeof acts)[number]) => {
          const { supervisor, registry } = house
          if (kind === "acquire") begun(supervisor.acquire("mine", caller()).then(leased))
          else if (kind === "release") leases.shift()?.release()
          else if (kind === "break") leases.shift()?.release("broken")
          else if (kind === "die") shop.alive("mine").at(-1)?.die()
          else if (kind === "lists")
            shop
              .alive("mine")
              .at(-1)
              ?.backend.emit({ kind: "lists", lists: ["tools"] })
          else if (kind === "remove") begun(registry.remove("mine"))
          else if (kind === "put" || kind === "change" || kind === "disable") {
            if (kind === "change") command += 1
            begun(registry.put(manifest(kind !== "disable")))
          } else begun(supervisor[kind]("mine"))
        }
        for (const one of steps) {
          if (one.kind === "wait") await house.clock.advance(one.ms)
          else if (one.kind === "weather") weather = one.open
          else act(one.kind)
          if (one.kind !== "weather") await house.turn()
          look()
        }

        // Now all is well and nobody holds anything: what runs must become what is wanted, and every caller gets an answer.
        weather = "good"
        await house.clock.advance(120_000)
        for (const lease of leases.splice(0)) lease.release()
        await house.clock.advance(120_000)
        for (const lease of leases.splice(0)) lease.release()
        await Promise.all(pending)
        const record = house.registry.snapshot().services.get("mine")
        const view = house.view("mine")
        if (record === undefined) expect(view).toBeUndefined()
        else {
          const { level } = wantedOf(record)
          if (level === "stopped") expect(view?.lifecycle).toBe("STOPPED")
          if (level === "quarantined") expect(view?.lifecycle).toBe("QUARANTINED")
          if (level === "running" && start === "eager") expect(view?.lifecycle).toBe("RUNNING")
          if (level === "running" && start === "lazy")
            expect(["RUNNING", "REGISTERED", "CRASHED"]).toContain(view?.lifecycle)
          const running = shop.alive("mine").length
          expect(running).toBe(view?.lifecycle === "RUNNING" ? 1 : 0)
          expect(view?.listed).toBe(level === "running")
        }
        await house[Symbol.asyncDispose]()
      },
    ),
    { numRuns: 300 },
  )
})
