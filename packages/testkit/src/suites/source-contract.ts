import { ClarityError, type AcquireContext, type BackendSource } from "@clarity-runtime/contracts"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { callContext, modernClient, operator } from "../call-context.ts"

export interface SourceFixture {
  readonly source: BackendSource
  /** A service that can be acquired. */
  readonly serviceId: string
  /** Does something that must be published, such as adding or removing a service. */
  readonly change: () => unknown
  readonly close?: () => Promise<void>
}

/** What every `BackendSource` promises. */
export function sourceContract(name: string, open: () => Promise<SourceFixture>): void {
  describe(`${name} keeps the contract of a source`, () => {
    let fixture: SourceFixture
    let source: BackendSource
    beforeEach(async () => {
      fixture = await open()
      source = fixture.source
    })
    afterEach(async () => {
      await fixture.close?.()
    })
    const asker = (signal = new AbortController().signal): AcquireContext => ({
      principal: operator,
      client: modernClient,
      signal,
    })

    it("lists its services by namespace, then id, each namespace once", () => {
      const { services } = source.snapshot()
      const names = services.map(({ namespace }) => namespace)
      expect(names).toEqual([...new Set(names)].sort())
      expect(services.map(({ id }) => id)).toContain(fixture.serviceId)
      for (const namespace of names) expect(namespace).not.toContain("__")
    })

    it("publishes what changed, numbered upwards, and leaves old snapshots as they were", async () => {
      const before = source.snapshot()
      const kept = JSON.stringify(before)
      const ending = new AbortController()
      const changes = source.changes(ending.signal)[Symbol.asyncIterator]()
      const next = changes.next()
      await fixture.change()
      const seen = await next
      expect(seen.done).toBe(false)
      expect(seen.value.generation).toBeGreaterThan(before.generation)
      expect(source.snapshot().generation).toBeGreaterThanOrEqual(seen.value.generation)
      expect(JSON.stringify(before)).toBe(kept)
      ending.abort()
      for (let step = await changes.next(); !step.done; step = await changes.next());
    })

    it("lends a backend that works; releasing twice does nothing", async () => {
      const lease = await source.acquire(fixture.serviceId, asker())
      const face = await lease.backend.describe(callContext().signal)
      expect(face.tools).toBeInstanceOf(Array)
      lease.release()
      lease.release("broken")
      const again = await source.acquire(fixture.serviceId, asker())
      expect(again.backend).toBe(lease.backend)
      again.release()
    })

    it("knows no service it does not list", async () => {
      await expect(source.acquire("svc_000000000000", asker())).rejects.toMatchObject({ code: "not_found" })
      await expect(source.acquire("constructor", asker())).rejects.toMatchObject({ code: "not_found" })
    })

    it("does not wait for a caller who is gone", async () => {
      const gone = source.acquire(fixture.serviceId, asker(AbortSignal.abort()))
      await expect(gone).rejects.toBeInstanceOf(ClarityError)
    })
  })
}
