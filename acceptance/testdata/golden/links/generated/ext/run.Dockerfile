ARG base_image
FROM ${base_image}
USER root
RUN mkdir /l && echo x >/l/file && ln /l/file /l/hard && ln -s file /l/soft && ln -s /nowhere /l/dangling && ln -s .. /l/up && ln -s loop /l/loop
RUN ln /l/file /l/third && ln /data/old/file /l/of-the-base
RUN chmod 600 /l/hard
RUN ln /shared/one /shared/three && echo more >>/shared/two
RUN rm /l/file && echo new >/l/file
RUN ln -sfn /etc /l/soft && ln /l/dangling /l/hard-to-soft
RUN mv /l/up /l/moved && cp -a /l/hard /l/copied && mv /l/hard /elsewhere
USER 1001
