import type { ClientCapabilities } from "@clarity-runtime/contracts"
import { expect, test } from "vitest"
import type { Link } from "./handshake.ts"
import { createSessionPool } from "./session-pool.ts"

const never = new AbortController().signal

function links(open: () => Promise<void> = async () => {}) {
  const made: { capabilities: ClientCapabilities; calls: number; disposed: boolean }[] = []
  const dropped: Link[] = []
  const pool = createSessionPool(
    "up",
    async (capabilities) => {
      const one = { capabilities, calls: 0, disposed: false }
      made.push(one)
      await open()
      const connection = {
        get calls() {
          return one.calls
        },
        closed: false,
        async [Symbol.asyncDispose]() {
          one.disposed = true
        },
      }
      return { connection } as unknown as Link
    },
    (link) => dropped.push(link),
    2,
  )
  return { pool, made, dropped }
}

const form = { elicitation: { form: {} } }

test("clients of equal abilities share a session, however they spell them; it is opened once", async () => {
  const { pool, made } = links()
  const same = [{ elicitation: {} }, form, { elicitation: { form: {} }, experimental: { x: {} } }]
  const got = await Promise.all(same.map((client) => pool.get(client, never)))
  expect(new Set(got).size).toBe(1)
  expect(made.map(({ capabilities }) => capabilities)).toEqual([form])
})

test("the longest-unused idle session makes room; where all are busy there is none", async () => {
  const { pool, made, dropped } = links()
  await pool.get({}, never)
  await pool.get(form, never)
  await pool.get({}, never)
  await pool.get({ roots: {} }, never)
  expect(made.map(({ disposed }) => disposed)).toEqual([false, true, false])
  expect(dropped).toHaveLength(1)
  for (const one of made) one.calls = 1
  expect(() => pool.get({ sampling: {} }, never)).toThrow(/busy/)
})

test("one who gives up waiting does not take the session from the others", async () => {
  const gate = Promise.withResolvers<void>()
  const { pool, made } = links(() => gate.promise)
  const abort = new AbortController()
  const [first, second] = [pool.get({}, abort.signal), pool.get({}, never)]
  abort.abort()
  await expect(first).rejects.toMatchObject({ code: "cancelled" })
  gate.resolve()
  await expect(second).resolves.toBeDefined()
  expect(made).toHaveLength(1)
})

test("disposing closes what is open and what is opening", async () => {
  const gate = Promise.withResolvers<void>()
  const { pool, made } = links(() => gate.promise)
  const opening = pool.get({}, never)
  const refused = expect(opening).rejects.toMatchObject({ code: "unavailable" })
  const closing = pool[Symbol.asyncDispose]()
  gate.resolve()
  await Promise.all([closing, refused])
  expect(made[0]?.disposed).toBe(true)
})
