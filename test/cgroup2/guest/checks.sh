#!/bin/sh
# Checks on a host with nothing but cgroup v2. One line each, a summary at the end.
. /test/guest/lib.sh
mode=$(sed -n 's/.*wamr\.mode=\([a-z]*\).*/\1/p' /proc/cmdline)
echo "host: Linux $(uname -r), $(cat $tree/cgroup.controllers)"
. "/test/guest/$mode.sh"
echo "$passed passed, $failed failed"
