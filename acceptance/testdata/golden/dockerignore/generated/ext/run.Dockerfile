ARG base_image
FROM ${base_image}
COPY . /copied/
COPY dir/kept.log /one
USER root
RUN --mount=type=bind,target=/mnt find /mnt | sort >/mounted
USER 1001
