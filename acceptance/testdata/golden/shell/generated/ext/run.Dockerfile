ARG base_image
FROM ${base_image}
USER root
SHELL ["/bin/sh", "-euc"]
RUN echo $- | grep -q e; echo strict >/strict
RUN (set +u; echo "${not_set:-unset}") >/unset
SHELL ["/bin/busybox", "ash", "-x", "-c"]
RUN echo "ash $0" >/ash
SHELL ["/bin/sed", "-n"]
RUN w /by-sed
SHELL ["/bin/sh", "-c"]
USER 1001
