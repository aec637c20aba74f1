ARG base_image
FROM ${base_image}
USER root
RUN rm /data/old/file
RUN rm -r /data && mkdir /data && echo new >/data/new
RUN mkdir -p /made/here && echo 1 >/made/here/1 && rm -r /made
RUN mkdir -p /tree/a/b/c && echo f >/tree/a/b/c/f
RUN rm -r /tree/a/b && mkdir /tree/a/b
RUN rm -r /tree && mkdir -p /tree/a && touch /tree/a/.wh-like '/tree/a/back\slash'
RUN rm /bin/hostname /shared/one
RUN rm -r /home && mv /tree /home
COPY <<EOF /data/new
again
EOF
USER 1001
