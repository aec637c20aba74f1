ARG base_image
FROM ${base_image}
RUN cat /a /triggered >/b
