export const state_is_not_written_yet = true
