ARG base_image
FROM ${base_image}
WORKDIR /by-base
RUN id -u >/tmp/base; id -g >>/tmp/base
USER cnb
WORKDIR /home/cnb/made
RUN touch /tmp/by-name; id >/tmp/name
USER daemon:staff
WORKDIR /by-daemon/deep
RUN touch /tmp/by-daemon; id >/tmp/daemon; echo $HOME >>/tmp/daemon
COPY <<EOF /copied/by-daemon
x
EOF
USER 4321
RUN touch /tmp/by-number; id -u >/tmp/number; id -g >>/tmp/number
USER 4321:8765
WORKDIR relative
RUN touch /tmp/by-both; pwd >/tmp/both
USER root
RUN touch /tmp/by-root; id -G >/tmp/root
USER :8
ARG user_id group_id
RUN echo "$user_id:$group_id" >/tmp/ids
USER ${user_id}:${group_id}
RUN touch /tmp/by-args
