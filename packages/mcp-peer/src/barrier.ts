/**
 * After a cancellation something of that call may still be on its way. `pass` resolves once the upstream has answered
 * a request sent after it, so that everything written before has arrived; many who wait share few requests.
 */
export interface Barrier {
  pass(): Promise<void>
}

export function createBarrier(request: () => Promise<unknown>): Barrier {
  let now: Promise<void> = Promise.resolve()
  let next: Promise<void> | undefined

  async function after(before: Promise<void>): Promise<void> {
    await before
    now = next ?? now
    next = undefined
    await request()
  }

  return {
    // Whoever comes while a request is out waits for the one after it: the first may have overtaken its cause.
    pass: () => (next ??= after(now)),
  }
}
