ARG base_image
FROM ${base_image}
USER root
RUN --network=none ls /sys/class/net 2>/dev/null | grep -v '^lo$' >/none || true
RUN --network=default true
RUN --security=sandbox touch /sandbox
USER 1001
