export const registry_is_not_written_yet = true
