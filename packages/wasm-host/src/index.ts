export const wasm_host_is_not_written_yet = true
