import { systemClock } from "@clarity-runtime/contracts"
import { expect, it } from "vitest"
import { everyone } from "../../test-support/served.ts"
import { createSessions } from "./sessions.ts"

it("makes room by ending the session that has been silent the longest", () => {
  const sessions = createSessions(systemClock, { idleMs: 60_000, total: 10, perPrincipal: 2 })
  const create = () =>
    sessions.create(everyone, undefined, { era: "legacy", protocolVersion: "2025-11-25", capabilities: {} }).id
  const find = (id: string) => sessions.find(id, everyone, undefined)?.id
  const [used, silent] = [create(), create()]
  expect(find(used)).toBe(used)
  const fresh = create()
  expect([find(used), find(silent), find(fresh)]).toEqual([used, undefined, fresh])
  sessions.close()
})

it("ends with the credential that opened it, whatever bears the same name later", () => {
  const sessions = createSessions(systemClock, { idleMs: 60_000, total: 10, perPrincipal: 2 })
  const revoked = new AbortController()
  const client = { era: "legacy", protocolVersion: "2025-11-25", capabilities: {} } as const
  const opened = sessions.create({ ...everyone, ends: revoked.signal }, undefined, client)
  const other = sessions.create(everyone, undefined, client)
  const running = new AbortController()
  opened.running.set(1, running)
  revoked.abort()
  expect(sessions.find(opened.id, everyone, undefined)).toBeUndefined()
  expect(running.signal.aborted).toBe(true)
  expect(sessions.find(other.id, everyone, undefined)).toBe(other)
  sessions.close()
})
