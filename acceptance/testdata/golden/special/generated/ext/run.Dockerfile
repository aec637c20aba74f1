ARG base_image
FROM ${base_image}
USER root
RUN mkfifo -m 640 /fifo && mknod /char c 1 3 && mknod /block b 7 0 && chown 7:8 /char
RUN chmod 600 /block && rm /fifo && echo no fifo >/fifo
RUN mknod /data/zero c 1 5 && rm -r /data/old && mknod /data/old p
RUN ln /char /char-too
USER 1001
