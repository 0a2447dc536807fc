const ofTheRuntime = /^(CLARITYD_.*|CLARITY_API_TOKEN|CLARITY_RUNTIME_TOKEN|CLARITY_REMOTE_AUTH_FILE_ROOT)$/

/** What every process has: never a credential, but telling about the machine. Compared in upper case, as Windows does. */
const ofTheSystem: ReadonlySet<string> = new Set([
  "APPDATA",
  "COMSPEC",
  "DISPLAY",
  "EDITOR",
  "HOME",
  "HOSTNAME",
  "LANG",
  "LOCALAPPDATA",
  "LOGNAME",
  "MAIL",
  "NODE_ENV",
  "NODE_OPTIONS",
  "NODE_PATH",
  "OLDPWD",
  "PATH",
  "PWD",
  "SHELL",
  "SHLVL",
  "SYSTEMROOT",
  "TEMP",
  "TERM",
  "TMP",
  "TMPDIR",
  "TZ",
  "USER",
  "USERNAME",
  "USERPROFILE",
  "WINDIR",
])
const systemFamilies = /^(LC_|LD_|DYLD_|DBUS_|SSH_|SUDO_|XDG_|NPM_CONFIG_|NPM_PACKAGE_|NPM_LIFECYCLE_)/

/** Why a variable may not be used as a credential; undefined when it may. */
export function protectedReason(name: string): string | undefined {
  const upper = name.toUpperCase()
  if (ofTheRuntime.test(upper)) return "belongs to the runtime"
  if (ofTheSystem.has(upper) || systemFamilies.test(upper)) return "belongs to the system"
  return undefined
}
