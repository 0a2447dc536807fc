import { randomFillSync } from "node:crypto"
import type { Host, HostFunction } from "./host.ts"

/** The granted effects (Log, Time, Random), and the questions about a terminal and about policy. */
export function effectFunctions(host: Host): Record<string, HostFunction> {
  const { heap, log, powers } = host
  return {
    print_string: (at: number) => log.writeLine(heap.text(at)),
    print_no_newline: (at: number) => log.writePartial(heap.text(at)),
    print_int: (value: bigint) => log.writeLine(String(value)),
    print_float: (value: number) => log.writeLine(String(value)),
    log_info: (at: number) => log.write("stdout", `[INFO] ${heap.text(at)}`),
    log_warn: (at: number) => log.write("stderr", `[WARN] ${heap.text(at)}`),
    print_stderr: (at: number) => log.write("stderr", heap.text(at)),
    now: () => BigInt(powers.now ?? Date.now()),
    sleep: (ms: bigint) => {
      if (ms > 0n && powers.now === undefined) Atomics.wait(never, 0, 0, Math.min(Number(ms), 2 ** 31 - 1))
    },
    random_int: (low: bigint, high: bigint) => (powers.random || high <= low ? low : low + below(high - low + 1n)),
    random_float: () => (powers.random ? 0.25 : Math.random()),
    tty_is_tty: () => 0,
    policy_is_url_allowed: () => 0,
    policy_is_effect_allowed: (name: number) => (granted.has(heap.text(name)) ? 1 : 0),
  }
}

const never = new Int32Array(new SharedArrayBuffer(4))
const granted = new Set(["Log", "Time", "Random"])
const dice = new BigUint64Array(64)
let used = dice.length

/** A uniform whole number in [0, range), range at most 2^64. */
function below(range: bigint): bigint {
  const whole = 2n ** 64n
  const fair = whole - (whole % range)
  for (;;) {
    if (used === dice.length) {
      randomFillSync(dice)
      used = 0
    }
    const drawn = dice[used] ?? 0n
    used += 1
    if (drawn < fair) return drawn % range
  }
}
