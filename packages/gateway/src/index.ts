export const gateway_is_not_written_yet = true
