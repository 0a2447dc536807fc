export const policy_is_not_written_yet = true
