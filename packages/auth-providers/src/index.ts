export const auth_providers_is_not_written_yet = true
