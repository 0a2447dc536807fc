import { mkdtemp } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { registryContract } from "@clarity-runtime/testkit/suites"
import { createRegistry, lowdbStore, memoryStore } from "./index.ts"

registryContract("memoryStore", async () => {
  const store = memoryStore()
  return { registry: await createRegistry({ store }), reopen: () => createRegistry({ store }) }
})

registryContract("lowdbStore", async () => {
  const dir = join(await mkdtemp(join(tmpdir(), "registry-")), "runtime")
  const open = () => createRegistry({ store: lowdbStore({ dir }) })
  return { registry: await open(), reopen: open }
})
