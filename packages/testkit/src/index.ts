export const testkit_is_not_written_yet = true
