ARG base_image
FROM ${base_image}
ENV PATH=/b/bin:$PATH BOTH=$BOTH-b
WORKDIR further
ENTRYPOINT ["/bin/sh"]
VOLUME /b
EXPOSE 2/udp
LABEL both=b own=$ONLY
ARG both_arg ONLY=arg
RUN echo "$PATH $BOTH $ONLY ${both_arg-unset} $-" >b
