export const process_host_is_not_written_yet = true
