ARG base_image
FROM ${base_image}
USER root
ENV PATH=/a/bin:$PATH BOTH=a ONLY=a
WORKDIR /start
CMD ["of", "a"]
VOLUME /a
EXPOSE 1
LABEL both=a only=a
STOPSIGNAL SIGINT
HEALTHCHECK CMD true
ARG both_arg=a
SHELL ["/bin/sh", "-uc"]
