import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { readdirSync, readFileSync } from "node:fs"

/** Why no system call can be tampered with here; undefined: perhaps one can. */
export function whyNoStrace(): string | undefined {
  if (process.platform !== "linux") return "strace needs Linux"
  return spawnSync("strace", ["--version"]).status === 0 ? undefined : "strace is not installed"
}

/** libuv's worker, of which there is one: the main thread's own system calls are left alone. */
export function fileThreadOf(pid: number): string | undefined {
  return readdirSync(`/proc/${pid}/task`).find((id) =>
    readFileSync(`/proc/${pid}/task/${id}/comm`, "utf8").startsWith("libuv-worker"),
  )
}

/** Traces one thread and does `what` (`error=EIO`, `signal=SIGKILL`) at its `when`-th such call from now; a sentence where that is refused. */
export async function attach(
  thread: string,
  call: string,
  what: string,
  when: number,
): Promise<{ detach(): Promise<boolean> } | string> {
  const inject = `${call}:${what}:when=${when}`
  const tracer = spawn("strace", ["-p", thread, "-e", `trace=${call}`, "-e", `inject=${inject}`], {
    stdio: ["ignore", "ignore", "pipe"],
  })
  let said = ""
  const attached = Promise.withResolvers<boolean>()
  tracer.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString()
    if (/attached/.test(said)) attached.resolve(true)
  })
  const closed = once(tracer, "close")
  void closed.then(() => attached.resolve(false))
  if (!(await attached.promise)) return `strace may not be used here: ${said.trim()}`
  return {
    async detach() {
      tracer.kill("SIGINT")
      await closed
      return said.includes("(INJECTED)")
    },
  }
}
