export { remoteBackends, type RemoteOptions } from "./remote-backends.ts"
