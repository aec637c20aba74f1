ARG base_image
FROM ${base_image}
USER root
RUN --mount=type=secret,id=one tr a-z A-Z </run/secrets/one >/upper
RUN --mount=type=secret,id=one,target=/etc/secret/file,mode=0444,uid=7,gid=8 stat -c '%a %u:%g %s' /etc/secret/file >/stat
RUN --mount=type=secret,id=two,env=TOKEN echo "${#TOKEN}" >/length
RUN --mount=type=secret,id=none test ! -e /run/secrets/none
USER 1001
