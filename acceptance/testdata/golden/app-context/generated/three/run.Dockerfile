ARG base_image
FROM ${base_image}
COPY file /from-kind/
USER 1001
