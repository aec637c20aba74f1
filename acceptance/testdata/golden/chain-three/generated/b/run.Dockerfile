ARG base_image
FROM ${base_image}
ARG user_id group_id
USER root
RUN rm -r /three/gone && echo not a directory >/three/gone && chmod 700 /three/a/hard && echo "$user_id:$group_id" >/three/b
COPY --chown=${user_id}:${group_id} . /three/context/
USER new
