ARG base_image
FROM ${base_image}
USER root
RUN rm -r /data/old && echo file >/data/old
RUN rm /data/old && mkdir /data/old && echo in >/data/old/in
RUN rm -r /data/old && ln -s /etc /data/old
RUN rm /data/old && mkdir -p /data/old/file
RUN rm /shared/one && ln -s two /shared/one
RUN mv /shared /data/moved && mkdir /shared
RUN rm -r /home && touch /home && rm /data/link && mkdir -p /data/link/old
COPY dir /data/link/
COPY dir/name /name
RUN rm /name && mkfifo /name
USER 1001
