#!/bin/sh
# What npx and uvx do: stay in between and start the real program as a child.
node="$1"
shift
"$node" "$@"
exit $?
