ARG base_image
FROM ${base_image}
ARG own=default leaked
RUN echo "$ONE $own $OWN $leaked" >b; rm from-a; pwd >>b
COPY file from-b
USER cnb
RUN touch /tmp/by-cnb
