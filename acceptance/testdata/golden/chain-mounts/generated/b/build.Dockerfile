ARG base_image
FROM ${base_image}
RUN --mount=type=bind,target="/m m",rw cat "/m m/file" >/one
RUN --mount="type=bind,target=/m,rw" \
# a comment with --mount=type=tmpfs,target=/no --mount=type=tmpfs,target=/no
  --mount=type=tmpfs,target=/tmpfs --mount=type=bind,\
source=dir,target=/d,rw cat /m/file /d/inner >/two; echo --mount=type=bind >>/two
