ARG base_image
FROM ${base_image}
USER root
RUN cat /triggered >/seen; echo "$TRIGGERED" >>/seen
USER 1001
