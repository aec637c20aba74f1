ARG base_image
FROM ${base_image}
USER root
COPY file /same
COPY file /same
RUN cat /same >/same2; cp /same2 /same
RUN echo x >/big; for i in 1 2 3 4 5 6 7 8 9 10; do cat /big /big >/bigger; mv /bigger /big; done
RUN i=0; mkdir /many; while [ $i -lt 300 ]; do echo $i >/many/$i; i=$((i+1)); done
USER 1001
