/** For this room's tests only: what V8 itself says of a module. */
export interface V8WebAssembly {
  readonly Module: {
    new (bytes: Uint8Array): object
    exports(module: object): { name: string; kind: string }[]
    imports(module: object): { name: string; kind: string }[]
  }
  readonly Instance: new (module: object) => { readonly exports: Record<string, () => unknown> }
  validate(bytes: Uint8Array): boolean
}

export const v8 = (globalThis as unknown as { readonly WebAssembly: V8WebAssembly }).WebAssembly
