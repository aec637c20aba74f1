ARG base_image
FROM ${base_image}
ARG user_id
WORKDIR /three/work
RUN echo "$user_id" >/tmp/c; id -un >>/tmp/c
USER root
RUN rm /three/gone && ln -s context /three/gone && mv /three/a /three/z
LABEL last=yes
USER ${user_id}
