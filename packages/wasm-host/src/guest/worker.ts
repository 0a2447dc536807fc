import { readlinkSync } from "node:fs"
import { parentPort, workerData } from "node:worker_threads"
import { createHost } from "./host.ts"
import { Instances } from "./instances.ts"
import {
  claimCall,
  type AnswerMessage,
  type Program,
  type ReadyMessage,
  type ToWorker,
  type WorkerStart,
} from "./protocol.ts"
import { importsOf, runCall } from "./run-call.ts"

// The thread modules run in. It imports nothing but its neighbours and Node itself, so that it starts from source and
// from dist alike, without conditions.
const port = parentPort
if (!port) throw new Error("this file is the entry of a worker thread")

const { claims: shared, powers } = workerData as WorkerStart
const claims = new Int32Array(shared)
const programs = new Map<number, Program>()
let current = 0
const host = createHost(powers, (log) => port.postMessage({ call: current, log }))
const instances = new Instances(importsOf(host))

port.on("message", (message: ToWorker) => {
  if ("load" in message) programs.set(message.load, message.program)
  else if ("unload" in message) programs.delete(message.unload)
  else {
    const [call, place, key, index, args, maxResultBytes] = message
    if (!claimCall(claims, place, call)) return
    const program = programs.get(key)
    if (!program) throw new Error("a call arrived before its program")
    current = call
    const begun = performance.now()
    const { outcome, value } = runCall(host, instances, program, index, args, maxResultBytes)
    const log = host.log.end()
    const ms = performance.now() - begun
    port.postMessage([call, outcome, value, ms, log.length > 0 ? log : undefined] satisfies AnswerMessage)
  }
})
port.postMessage({ ready: threadId() } satisfies ReadyMessage)

function threadId(): number {
  if (process.platform !== "linux") return 0
  try {
    return Number(readlinkSync("/proc/thread-self").split("/").at(-1))
  } catch {
    return 0 // no /proc here
  }
}
