ARG base_image
FROM ${base_image}
USER root
RUN --mount=type=cache,target=/cache echo first >/cache/file; echo made >/seen
RUN --mount=type=cache,target=/cache cat /cache/file >/seen-again; touch /cache/more
RUN --mount=type=cache,id=named,target=/var/cache/deep/named,mode=0751,uid=7,gid=8 stat -c '%a %u:%g' /var/cache/deep/named >/stat
RUN --mount=type=cache,id=named,target=/other,readonly --mount=type=cache,sharing=locked,target=/data/old ls /data/old >/list; touch /other/x 2>/dev/null || echo readonly >>/list
RUN rm -rf /cache && echo gone >/gone
