ARG base_image
FROM ${base_image}
USER root
ARG user_id
RUN mkdir -p /three/a && echo $user_id >/three/a/file && ln /three/a/file /three/a/hard && mkdir /three/gone && touch /three/gone/x
RUN echo new:x:555:666::/:/bin/sh >>/etc/passwd; echo news:x:666: >>/etc/group
USER new:news
