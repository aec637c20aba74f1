ARG base_image
FROM ${base_image}
COPY . /from-app/
COPY src/main /main
USER 1001
