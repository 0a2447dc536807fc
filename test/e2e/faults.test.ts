import { equal } from "node:assert/strict"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { faults, type Kind } from "../fixtures/faultd/catalog.ts"
import { caseOf } from "../fixtures/faultd/services.ts"
import "./support/clean-up.ts"
import { startDaemon, temporaryDirectory, type Daemon } from "./support/daemon.ts"
import {
  callFault,
  healthyServices,
  meetFault,
  registerFault,
  removeFault,
  residentMb,
  startFaultd,
  writeRules,
  type Faultd,
  type Got,
} from "./support/faults.ts"
import { alive, processesOf } from "./support/process.ts"

// Every upstream fault once; `npm run faults` is the whole campaign, under load and with its figures.
const soon = { timeout: 10_000 }
/** Long enough for a machine that has other things to do. */
const patience = { timeoutMs: 1_500, totalMs: 3_000 }
const deadlineMs = 20_000
const atOnce = 10

let faultd: Faultd
let well: Faultd
let daemon: Daemon
let memoryAtFirst: number
const others: Got[] = []
let watching = true
let watched: Promise<void>

beforeAll(async () => {
  const folder = temporaryDirectory()
  const workspace = join(folder, "workspace")
  mkdirSync(workspace)
  ;[faultd, well] = await Promise.all([startFaultd(join(folder, "bad")), startFaultd(join(folder, "well"))])
  writeRules(workspace, patience)
  const { authority } = faultd
  daemon = await startDaemon({ workspace, env: authority === undefined ? {} : { NODE_EXTRA_CA_CERTS: authority } })
  const healthy = healthyServices(well)
  for (const one of healthy) equal((await registerFault(daemon.url, one)).outcome, "RUNNING")
  memoryAtFirst = residentMb(daemon.program.pid)
  watched = watchOthers()
  async function watchOthers(): Promise<void> {
    for (let turn = 0; watching; turn++) {
      const one = healthy[turn % healthy.length]
      if (one !== undefined) others.push(await callFault(daemon.url, one, deadlineMs))
      await sleep(10)
    }
  }
})
afterAll(async () => {
  await daemon?.[Symbol.asyncDispose]()
  await faultd?.[Symbol.asyncDispose]()
  await well?.[Symbol.asyncDispose]()
})

/** Meets every fault of a kind, some at a time. What did not come as it may is told, by name. */
async function meetAll(kind: Kind): Promise<string[]> {
  const wrong: string[] = []
  const left = faults.flatMap((fault) => {
    const cell = fault.on[kind]
    const one = cell && caseOf(fault, kind, cell, faultd, patience)
    return cell && one ? [{ fault, cell, one }] : []
  })
  expect(left.length).toBeGreaterThan(25)
  const worker = async () => {
    for (let next = left.pop(); next; next = left.pop()) {
      const { fault, cell, one } = next
      const got = await meetFault(daemon.url, one, cell, faultd, fault.name, deadlineMs)
      if (!cell.expect.includes(got.outcome)) wrong.push(`${fault.name}: ${got.outcome} ${got.words ?? ""}`)
      if (cell.when === "start" && got.words === "") wrong.push(`${fault.name}: no word of why`)
      await removeFault(daemon.url, got.id)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return wrong
}

describe("a service that misbehaves in every way we know", () => {
  it.each(["remote", "stdio"] as const)("%s: its caller gets a named error in time", async (kind) => {
    expect(await meetAll(kind)).toEqual([])
  })

  it("harms no other service", async () => {
    watching = false
    await watched
    expect(others.filter(({ outcome }) => outcome !== "ok")).toEqual([])
    expect(others.length).toBeGreaterThan(50)
  })

  it("leaves no child, no exchange and no heap of memory behind", async () => {
    await expect.poll(() => faultd.open(), soon).toEqual({})
    const children = () => processesOf(faultd.folder).filter((pid) => !faultd.pids.includes(pid))
    await expect.poll(children, soon).toEqual([])
    expect(alive(daemon.program.pid)).toBe(true)
    if (process.platform === "linux") expect(residentMb(daemon.program.pid) - memoryAtFirst).toBeLessThan(400)
  })
})
