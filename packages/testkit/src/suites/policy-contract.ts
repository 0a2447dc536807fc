import { ClarityError, type Admission, type AdmissionInput, type Permit, type Policy } from "@clarity-runtime/contracts"
import { beforeEach, describe, expect, it } from "vitest"
import { operator } from "../call-context.ts"
import { serviceDefinition, stdioManifest } from "../manifests.ts"

export interface PolicyFixture {
  readonly policy: Policy
  /** A call it permits; laid over a plain one by an operator. */
  readonly permitted?: Partial<AdmissionInput>
  /** A call it denies. */
  readonly denied?: Partial<AdmissionInput>
  /** How many permits for the permitted call there are at once, the next one then waits; absent: any number. */
  readonly places?: number
}

/** What every `Policy` promises. */
export function policyContract(name: string, open: () => PolicyFixture | Promise<PolicyFixture>): void {
  describe(`${name} keeps the contract of a policy`, () => {
    let fixture: PolicyFixture
    let calls = 0
    beforeEach(async () => {
      fixture = await open()
    })

    const never = () => new AbortController().signal
    const ask = async (overrides: Partial<AdmissionInput> = {}, signal = never()): Promise<Admission> =>
      fixture.policy.admit(
        {
          id: `policy-call-${++calls}`,
          principal: operator,
          service: serviceDefinition(stdioManifest()),
          method: "tools/call",
          target: "echo",
          bytes: 100,
          depth: 0,
          ...fixture.permitted,
          ...overrides,
        },
        signal,
      )
    const permit = async (signal = never()): Promise<Permit> => {
      const admission = await ask({}, signal)
      if (admission.kind !== "permit") throw new Error(`expected a permit, got ${admission.kind}`)
      return admission.permit
    }
    const done = { kind: "ok" as const, durationMs: 1 }
    const fill = () => Promise.all(Array.from({ length: fixture.places ?? 0 }, () => permit()))

    it("permits with limits that bound the call", async () => {
      const place = await permit()
      const { idleMs, totalMs, maxResultBytes } = place.limits
      for (const limit of [idleMs, totalMs, maxResultBytes]) expect(limit).toBeGreaterThan(0)
      place.settle(done)
    })

    it("denies with an error for the caller", async ({ skip }) => {
      const { denied } = fixture
      if (denied === undefined) return skip("denies nothing")
      const admission = await ask(denied)
      expect(admission.kind).toBe("deny")
      expect(admission).toMatchObject({ error: expect.any(ClarityError) })
    })

    it("gives a place freed by settling to one who waits, and only once", async ({ skip }) => {
      if (fixture.places === undefined) return skip("any number of places")
      const held = await fill()
      const first = permit()
      let second: Permit | undefined
      const waiting = permit().then((permit) => (second = permit))
      held[0]?.settle(done)
      held[0]?.settle(done)
      const given = await first
      await new Promise((resolve) => setImmediate(resolve))
      expect(second).toBeUndefined()
      given.settle(done)
      await waiting
      second?.settle(done)
    })

    it("lets another in while a call is suspended, and the suspended one back when there is room", async ({ skip }) => {
      if (fixture.places === undefined) return skip("any number of places")
      const held = await fill()
      held[0]?.suspend()
      const other = await permit()
      let resumed = false
      const resuming = held[0]?.resume(never()).then(() => (resumed = true))
      await new Promise((resolve) => setImmediate(resolve))
      expect(resumed).toBe(false)
      other.settle(done)
      await resuming
      expect(resumed).toBe(true)
    })

    it("ends the waiting of a caller who goes away, who then holds no place", async ({ skip }) => {
      if (fixture.places === undefined) return skip("any number of places")
      const held = await fill()
      const caller = new AbortController()
      const waiting = ask({}, caller.signal).then(
        ({ kind }) => kind,
        (error: unknown) => (error instanceof ClarityError ? "deny" : error),
      )
      caller.abort()
      expect(await waiting).toBe("deny")
      held[0]?.settle(done)
      const next = await permit()
      next.settle(done)
    })

    it("hides nothing, or the same each time", () => {
      const { visible } = fixture.policy
      const service = serviceDefinition(stdioManifest())
      const look = () => visible?.call(fixture.policy, operator, service, "tool", "echo") ?? true
      expect(look()).toBe(look())
      expect(typeof look()).toBe("boolean")
    })
  })
}
