import { serviceDefinition, stdioManifest } from "@clarity-runtime/testkit"
import { policyContract } from "@clarity-runtime/testkit/suites"
import { allowAll, standardPolicy } from "./index.ts"

const manifest = stdioManifest()
const narrow = { ...manifest, spec: { ...manifest.spec, limits: { maxConcurrency: 2, allowedTools: ["open"] } } }
const service = serviceDefinition(narrow)
const fixture = {
  permitted: { service, method: "tools/call", target: "open" },
  denied: { service, method: "tools/call", target: "shut" },
  places: 2,
}

policyContract("the standard policy", () => ({ policy: standardPolicy(), ...fixture }))
policyContract("allow all", () => ({ policy: allowAll(), ...fixture }))
