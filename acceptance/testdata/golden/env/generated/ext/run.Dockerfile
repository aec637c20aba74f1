ARG base_image
FROM ${base_image}
ENV A=1 B="two words" C='single $A' D=with=equals=signs E=back\ slash F="a\"b" G=
ENV OLD form with = signs "and quotes"  
ENV SELF=${A}$B H=${nothing:-default} I=${A:+set} J=${nothing:+set} K="x${A}y" \
    L=$FROM_BASE
ENV PATH=/own/bin:$PATH A=changed AFTER=$A
ENV PREFIX=${D#with} SUFFIX=${D%=*} GREEDY=${D%%=*} REPLACED=${D//=/-} URL=https://x.example/?a=b&c=d
ENV DOLLAR=\$A UNICODE=ünï
USER root
RUN env | grep -v '^HOSTNAME=\|^HOME=\|^SHLVL=\|^OTEL_\|^TRACEPARENT=' | sort >/env
RUN A=local; export A; echo "$A $AFTER" >/local
USER 1001
