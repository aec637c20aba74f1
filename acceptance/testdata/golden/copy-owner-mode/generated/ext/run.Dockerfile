ARG base_image
FROM ${base_image}
COPY --chown=7 file /by-number
COPY --chown=7:8 file /by-numbers
COPY --chown=daemon file /by-name
COPY --chown=daemon:staff dir /by-names
COPY --chown=:staff file /group-alone
COPY --chmod=4751 file /octal
COPY --chmod=0640 dir /octal-dir
COPY --chmod=u=rwX,go=rX dir /symbolic
COPY --chmod=g+w,o= file /symbolic-change
ARG owner=33:44
ARG mode=600
COPY --chown=${owner} --chmod=${mode} file /by-args
ADD --chown=7:8 --chmod=755 file /added
USER cnb
COPY file /as-user
COPY --chown=0:0 file /by-base/new/dir/
USER 1001
