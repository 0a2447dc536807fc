import { openSync, readdirSync, readFileSync } from "node:fs"

/** What stands in a child's stdio list: `ignore` leaves a number alone, another number is put in its place. */
export type StdioEntry = "pipe" | "ignore" | number

const closeOnExec = 0o2000000
const maxNumber = 4096

/**
 * The stdio list for children: three pipes, and `/dev/null` over every file the daemon itself was started with and
 * would pass on. Node marks most of those, but not the ones above a gap in their numbers; closing them here is not
 * ours to do, they may be in use. Needs /proc; macOS passes nothing on by itself.
 */
export function childStdio(): readonly StdioEntry[] {
  const stdio: StdioEntry[] = ["pipe", "pipe", "pipe"]
  const passedOn = inheritableNumbers()
  if (passedOn.length === 0) return stdio
  const nothing = openSync("/dev/null", "r+")
  for (const number of passedOn) {
    while (stdio.length < number) stdio.push("ignore")
    stdio[number] = nothing
  }
  return stdio
}

function inheritableNumbers(): readonly number[] {
  try {
    return readdirSync("/proc/self/fd")
      .map(Number)
      .filter((number) => number > 2 && number < maxNumber && isInheritable(number))
      .sort((a, b) => a - b)
  } catch {
    return []
  }
}

function isInheritable(number: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${number}`, "latin1"))?.[1]
    return flags !== undefined && (parseInt(flags, 8) & closeOnExec) === 0
  } catch {
    return false
  }
}
