ARG base_image
FROM ${base_image}
USER root
WORKDIR /a/b/c
RUN pwd >pwd
WORKDIR d
WORKDIR ../e
RUN pwd >pwd
ENV DIR=/from/env
WORKDIR ${DIR}/x
RUN pwd >pwd
WORKDIR /data/link
RUN pwd -P >pwd
WORKDIR /trailing/slash/
WORKDIR "/with space"
RUN pwd >pwd
COPY file relative/
COPY file ./renamed
WORKDIR /data
WORKDIR /
