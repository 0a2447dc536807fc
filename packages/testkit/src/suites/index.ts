export { registryContract, type RegistryFixture } from "./registry-contract.ts"
