ARG base_image
FROM ${base_image}
COPY --link file /linked/file
COPY --link --chown=7:8 --chmod=700 dir /linked/dir/
COPY --link file /data/link/through
COPY --link file /data/old/file
ADD --link file /added-link
USER root
RUN ls /linked/dir >/linked/list
USER 1001
