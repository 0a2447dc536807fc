import { stdioManifest } from "@clarity-runtime/testkit"
import { sourceContract } from "@clarity-runtime/testkit/suites"
import { supervised } from "../test/harness.ts"

sourceContract("a supervisor", async () => {
  const house = supervised([stdioManifest()])
  await house.turn()
  return {
    source: house.supervisor,
    serviceId: house.id,
    async change() {
      await house.registry.put(stdioManifest({ name: `another-${house.registry.snapshot().services.size}` }))
      await house.clock.advance(100)
    },
    close: async () => house[Symbol.asyncDispose](),
  }
})
