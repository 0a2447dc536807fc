export const control_is_not_written_yet = true
