import {
  ClarityError,
  type Backend,
  type CallContext,
  type Change,
  type McpRequest,
  type McpResult,
} from "@clarity-runtime/contracts"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { callContext, toolCall } from "../call-context.ts"
import { collect } from "../collect.ts"

/** One open backend and how to exercise it. */
export interface BackendFixture {
  readonly backend: Backend
  /** A call that answers at once with a result in which, as JSON, the text occurs. */
  readonly echo: (text: string) => McpRequest
  /** A call that ends only when it is cancelled; absent: this backend can have none. */
  readonly endless?: EndlessCall
  /** Laid over the context of every call: the service, the client. */
  readonly context?: Partial<CallContext>
  /** Runs after the backend was disposed. */
  readonly close?: () => Promise<void>
}

export interface EndlessCall {
  readonly request: McpRequest
  /** Resolves when the upstream is at it; absent: it sends a notification then. */
  readonly begun?: () => Promise<unknown>
  /** Resolves when the upstream has stopped; absent: that cannot be seen. */
  readonly stopped?: () => Promise<unknown>
}

/** What every `Backend` promises. `open` gives a fresh one each time; the suite disposes it. */
export function backendContract(name: string, open: () => Promise<BackendFixture>): void {
  describe(`${name} keeps the contract of a backend`, () => {
    let fixture: BackendFixture
    let backend: Backend
    beforeEach(async () => {
      fixture = await open()
      backend = fixture.backend
    })
    afterEach(async () => {
      await backend[Symbol.asyncDispose]()
      await fixture.close?.()
    })

    const contextFor = (overrides: Partial<CallContext> = {}) => callContext({ ...fixture.context, ...overrides })
    const call = (request: McpRequest, overrides: Partial<CallContext> = {}) =>
      collect(backend.call(request, contextFor(overrides)))

    /** Begins the endless call; `outcome` is what its generator then throws. */
    async function beginEndless(endless: EndlessCall, signal: AbortSignal) {
      const reply = backend.call(endless.request, contextFor({ signal }))
      const first = reply.next()
      const ahead = endless.begun === undefined ? await first : await endless.begun()
      const outcome = (endless.begun === undefined ? collect(reply) : first).then(
        (value: unknown) => ({ ended: value }),
        (error: unknown) => error,
      )
      return { reply, outcome, ahead }
    }

    it("describes what it offers, alike each time", async () => {
      const signal = new AbortController().signal
      const face = await backend.describe(signal)
      expect(face.tools).toBeInstanceOf(Array)
      expect((await backend.describe(signal)).tools).toEqual(face.tools)
    })

    it("does not describe for a caller who is gone", async () => {
      await expect(backend.describe(AbortSignal.abort())).rejects.toBeInstanceOf(ClarityError)
    })

    it("answers a call, and the next", async () => {
      expect(JSON.stringify((await call(fixture.echo("first"))).result)).toContain("first")
      expect(JSON.stringify((await call(fixture.echo("second"))).result)).toContain("second")
    })

    it("gives each of many calls at once its own answer", async () => {
      const texts = Array.from({ length: 20 }, (_, index) => `text-${index}-end`)
      const answers = await Promise.all(texts.map((text) => call(fixture.echo(text))))
      for (const [index, { result }] of answers.entries()) expect(JSON.stringify(result)).toContain(texts[index])
    })

    it("refuses an unknown tool in words and goes on", async () => {
      const answer = await call(toolCall("no_such_tool_anywhere")).then(
        ({ result }): McpResult | ClarityError => result,
        (error: unknown) => error,
      )
      expect(answer instanceof ClarityError || (answer as McpResult)["isError"] === true).toBe(true)
      expect(JSON.stringify((await call(fixture.echo("still here"))).result)).toContain("still here")
    })

    it("starts nothing for a call that is not read, or given up before", async () => {
      const unread = backend.call(fixture.echo("unread"), contextFor())
      expect(await unread.return({})).toEqual({ done: true, value: {} })
      const aborted = call(fixture.echo("aborted"), { signal: AbortSignal.abort() })
      await expect(aborted).rejects.toBeInstanceOf(ClarityError)
    })

    it("ends an aborted call with the reason of its signal, stops the upstream, and lives on", async ({ skip }) => {
      const { endless } = fixture
      if (endless === undefined) return skip("no endless call")
      const caller = new AbortController()
      const { outcome } = await beginEndless(endless, caller.signal)
      const reason = new ClarityError("upstream_timeout", "the call took too long")
      caller.abort(reason)
      expect(await outcome).toBe(reason)
      await endless.stopped?.()
      expect(JSON.stringify((await call(fixture.echo("alive"))).result)).toContain("alive")
    })

    it("takes abort, then return(), as the end of a call", async ({ skip }) => {
      const { endless } = fixture
      if (endless === undefined) return skip("no endless call")
      const caller = new AbortController()
      const { reply, outcome } = await beginEndless(endless, caller.signal)
      caller.abort()
      expect((await reply.return({})).done).toBe(true)
      expect(await outcome).toMatchObject({ code: "cancelled" })
      expect((await reply.next()).done).toBe(true)
      await endless.stopped?.()
    })

    it("fails calls under way when it is disposed", async ({ skip }) => {
      const { endless } = fixture
      if (endless === undefined) return skip("no endless call")
      const { outcome } = await beginEndless(endless, new AbortController().signal)
      await backend[Symbol.asyncDispose]()
      expect(await outcome).toBeInstanceOf(ClarityError)
    })

    it("can be disposed twice, at once too, and then refuses everything", async () => {
      await Promise.all([backend[Symbol.asyncDispose](), backend[Symbol.asyncDispose]()])
      await backend[Symbol.asyncDispose]()
      await expect(call(fixture.echo("late"))).rejects.toBeInstanceOf(ClarityError)
      await expect(backend.describe(new AbortController().signal)).rejects.toBeInstanceOf(ClarityError)
    })

    it("says first that it watches, and stops with the signal", async ({ skip }) => {
      if (backend.watch === undefined) return skip("does not watch")
      const ending = new AbortController()
      const changes = backend.watch({ lists: true }, ending.signal)[Symbol.asyncIterator]()
      expect((await changes.next()).value).toMatchObject({ kind: "watching" })
      const next = changes.next()
      ending.abort()
      expect((await next).done).toBe(true)
    })

    it("tells its watchers last of all that it is gone", async ({ skip }) => {
      if (backend.watch === undefined) return skip("does not watch")
      const heard: Change[] = []
      const watching = backend.watch({ lists: true }, new AbortController().signal)
      for await (const change of watching) {
        heard.push(change)
        if (heard.length === 1) void backend[Symbol.asyncDispose]()
      }
      expect(heard.map(({ kind }) => kind)).toEqual(["watching", "exit"])
    })
  })
}
