export const help = `clarityd - one endpoint in front of all your MCP services

usage: clarityd [flags]

  -p, --port N          port to listen on (CLARITYD_PORT; default 4707)
      --host ADDRESS    address to listen on (CLARITYD_HOST; default: both loopback addresses)
      --auth-token T    token that callers must show (CLARITYD_AUTH_TOKEN); without any token only this machine is served
  -w, --workspace DIR   folder whose .clarity/ holds the state (CLARITYD_WORKSPACE; default: the current one)
      --config FILE     configuration (CLARITYD_CONFIG; default: .clarity/clarityd.json below the workspace)
      --policy FILE     rules for calls (CLARITYD_POLICY; default: .clarity/policy.json below the workspace)
      --examples FILE   register these manifests once per workspace
  -v, --version         print the version
  -h, --help            print this text

Flags win over variables, variables over the file. A token on the command line can be seen by other users of this
machine; the variable cannot.
`
