ARG base_image
FROM ${base_image}
USER root
ADD file /from-a
