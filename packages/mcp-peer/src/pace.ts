import type { Clock } from "@clarity-runtime/contracts"

/** What one upstream may cost without having been asked. It is not cut off beyond that, only read more slowly. */
export interface Pace {
  /** It sent a message that is no answer. */
  unasked(): void
  /** It sent so many bytes that nothing was made of. */
  waste(bytes: number): void
  /** Milliseconds to wait before reading on; 0 while it keeps within its bounds. */
  restMs(): number
}

/** 2,000 messages or 32 MiB in a second, and a quarter of that at once. */
const messageMs = 1000 / 2000
const byteMs = 1000 / (32 * 1024 * 1024)
const burstMs = 250

export function createPace(clock: Clock): Pace {
  let debtMs = 0
  let at = clock.monotonic()
  return {
    unasked() {
      debtMs += messageMs
    },
    waste(bytes) {
      debtMs += bytes * byteMs
    },
    restMs() {
      const now = clock.monotonic()
      debtMs = Math.max(0, debtMs - (now - at))
      at = now
      return debtMs > burstMs ? Math.ceil(debtMs - burstMs) : 0
    },
  }
}
