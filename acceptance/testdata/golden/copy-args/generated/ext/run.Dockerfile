ARG base_image
FROM ${base_image}
ARG source=dir to=/target name=file
ENV FROM_ENV=dir/nested
COPY $source/top ${to}/
COPY ${FROM_ENV}/*.txt ${name}? $to/several/
COPY dir-link/deep.txt /through-a-link
COPY dir-link/ /all-through-a-link/
COPY ./dir/../file /cleaned
COPY /file /absolute
COPY dir/. dir/nested/./deep.txt /dotted/
COPY --chown=${nobody:-7} ["${source}/top", "/json/"]
USER root
RUN --mount=type=bind,source=${source},target=/mnt cat /mnt/top >/mounted
USER 1001
