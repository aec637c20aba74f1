ARG base_image
FROM ${base_image}
USER root
RUN ["/bin/mkdir", "-p", "/exec/with space", "/exec/ünï"]
RUN ["/bin/sh", "-c", "echo \"$FROM_BASE\" \\tab >/exec/shell"]
RUN [ "touch", "/exec/$FROM_BASE", "/exec/*" ]
RUN ["/bin/busybox", "touch", "/exec/;", "/exec/&& true"]
# Not JSON, so it is a command of the shell.
RUN [ -d /exec ] && touch /exec/bracket
USER 1001
