ARG base_image
ARG global=from-global
ARG overridden_global=default
ARG from_global=${global}-and-more
ARG of_platform=x-${TARGETARCH}-${TARGETOS}
FROM ${base_image}
ARG before=${global}
ARG global
ARG from_global of_platform
ARG overridden_global
ARG defaulted=default overridden=default without
ARG derived="${overridden} ${defaulted}"
ARG FROM_BASE=arg
ENV hidden=env
ARG hidden=arg
ENV kept=$derived
USER root
RUN echo "$before|$global|$from_global|$of_platform|$overridden_global|$defaulted|$overridden|$without|$derived|$FROM_BASE|$hidden|$undeclared" >/args
RUN test -n "$build_id" -o 1 = 1; echo "$TARGETPLATFORM|$TARGETOS" >/undeclared
ARG TARGETOS TARGETARCH
RUN echo "$TARGETOS/$TARGETARCH" >/declared
ARG late=$(nothing)
RUN echo "$late" >"/late"
USER 1001
