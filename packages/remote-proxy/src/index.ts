export const remote_proxy_is_not_written_yet = true
