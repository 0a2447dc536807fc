export const telemetry_is_not_written_yet = true
