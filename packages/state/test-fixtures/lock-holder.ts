// Takes the lock of the directory given, says what came of it in one line, and holds it until its input ends.
import { writeSync } from "node:fs"
import { lockWorkspace } from "@clarity-runtime/state"

try {
  const lock = await lockWorkspace(process.argv[2] ?? "")
  writeSync(1, "held\n")
  process.stdin.resume()
  process.stdin.once("end", () => void lock[Symbol.asyncDispose]())
} catch (error) {
  writeSync(1, `refused: ${String(error)}\n`)
}
