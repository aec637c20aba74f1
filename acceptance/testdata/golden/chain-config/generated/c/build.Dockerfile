ARG base_image
FROM ${base_image}
CMD ["of", "c"]
HEALTHCHECK NONE
SHELL ["/bin/sh", "-c"]
WORKDIR ..
RUN pwd >c; env | grep '^PATH\|^BOTH\|^ONLY' >>c
