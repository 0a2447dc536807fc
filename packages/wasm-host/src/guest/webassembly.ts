/** The part of the WebAssembly API used here; Node's types leave it to the DOM's, which have no place in this package. */
export interface WebAssemblyApi {
  readonly Instance: new (module: WasmModule, imports: { readonly env: WasmImports }) => WasmInstance
  readonly Memory: new (descriptor: { initial: number; maximum?: number }) => WasmMemory
  readonly CompileError: new (message?: string) => Error
  readonly LinkError: new (message?: string) => Error
  readonly RuntimeError: new (message?: string) => Error
  compile(bytes: Uint8Array): Promise<WasmModule>
}

/** A compiled module: can be posted to other threads. */
export interface WasmModule {
  readonly [Symbol.toStringTag]: string
}

export interface WasmMemory {
  readonly buffer: ArrayBuffer
  grow(pages: number): number
}

export interface WasmInstance {
  readonly exports: Readonly<Record<string, unknown>>
}

export type WasmImports = Readonly<Record<string, (...args: never[]) => number | bigint | void>>

export const webAssembly = (globalThis as unknown as { readonly WebAssembly: WebAssemblyApi }).WebAssembly
