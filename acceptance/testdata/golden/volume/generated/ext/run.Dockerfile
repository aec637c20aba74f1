ARG base_image
FROM ${base_image}
USER root
VOLUME /data /vol
RUN echo kept >/vol/file; echo kept >/data/file
COPY <<EOF /vol/copied
x
EOF
HEALTHCHECK NONE
CMD echo shell form
USER 1001
