ARG base_image
FROM ${base_image}
USER root
ONBUILD ARG trigger=default
ONBUILD RUN echo "triggered $trigger" >/triggered
ONBUILD COPY file /trigger-copied
RUN echo a >/a
