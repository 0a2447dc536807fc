import { Slots } from "@clarity-runtime/contracts"

/** A limit that is being watched. */
export interface Alarm {
  readonly due: number
  readonly strike: () => void
  slot: number
}

/**
 * The time limits of all calls under one timer: a call costs an entry in a list, not timers of its own. An alarm strikes
 * never early and at most one tick late; nothing ticks while no alarm is set, and ticking keeps no process alive.
 */
export interface Alarms {
  set(ms: number, strike: () => void): Alarm
  clear(alarm: Alarm): void
  close(): void
}

const tickMs = 50

export function createAlarms(): Alarms {
  const alarms = new Slots<Alarm>()
  let ticking: NodeJS.Timeout | undefined

  function tick(): void {
    const now = performance.now()
    for (const alarm of alarms) {
      if (alarm.due > now) continue
      alarms.delete(alarm)
      alarm.strike()
    }
    if (alarms.size === 0) close()
  }

  function close(): void {
    clearInterval(ticking)
    ticking = undefined
  }

  return {
    set(ms, strike) {
      const alarm: Alarm = { due: performance.now() + ms, strike, slot: -1 }
      alarms.add(alarm)
      ticking ??= setInterval(tick, tickMs).unref()
      return alarm
    },
    clear: (alarm) => void alarms.delete(alarm),
    close,
  }
}
