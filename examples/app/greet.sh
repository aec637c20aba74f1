#!/bin/sh
# The application: it runs only in an image that has what its Aptfile lists.
set -eu
here=$(dirname "$0")
cat /etc/motd
hello
jq -r .greeting "$here/greeting.json"
