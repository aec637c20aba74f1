ARG base_image
FROM ${base_image}
LABEL one=1 "two words"="a b" multi="line \
continued" org.example/x='single $FROM_BASE'
LABEL of=changed empty=
EXPOSE 80 53/udp 8000-8002
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --timeout=1m --retries=2 --start-period=3s CMD test -e /healthy || exit 1
VOLUME /vol /vol/below
VOLUME ["/with space", "/json"]
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["echo", "a \"b\""]
MAINTAINER somebody
ONBUILD RUN echo later
SHELL ["/bin/sh", "-ec"]
USER 1001
