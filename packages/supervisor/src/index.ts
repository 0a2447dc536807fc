export const supervisor_is_not_written_yet = true
