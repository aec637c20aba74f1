ARG base_image
FROM ${base_image}
ARG own=default leaked=arg
ENV ONE=1 OWN=$own
WORKDIR /chain
USER root
COPY file from-a
RUN echo "$ONE $own $user_id" >a; rm /data/old/file
SHELL ["/bin/sh", "-ec"]
