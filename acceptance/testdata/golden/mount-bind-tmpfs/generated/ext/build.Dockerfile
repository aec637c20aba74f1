ARG base_image
FROM ${base_image}
USER root
RUN --mount=type=bind,target=/mnt cat /mnt/file >/read; find /mnt | sort >>/read
RUN --mount=type=bind,source=dir,target=/mnt/deep,rw cat /mnt/deep/inner >/inner; echo new >/mnt/deep/new
RUN --mount=type=bind,source=file,target=/data/old/file cat /data/old/file >/shadowed
RUN --mount=target=/shorthand cat /shorthand/file >/short
RUN --mount=type=tmpfs,target=/data/old,size=1m echo lost >/data/old/lost; ls /data/old >/list
RUN --mount=type=tmpfs,target=/new/tmpfs --mount=type=bind,source=dir,target=/new/bind touch /new/tmpfs/x; ls /new/bind >/list2; touch /new/kept
