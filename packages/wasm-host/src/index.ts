export type { Powers } from "./guest/host.ts"
export { wasmBackends, type WasmBackends, type WasmOptions } from "./wasm-backends.ts"
