ARG base_image
FROM ${base_image}
COPY file /from-own/
USER 1001
