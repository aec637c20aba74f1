ARG base_image
FROM ${base_image}
ADD plain.tar /from-tar/
ADD packed.tar.gz /from-gzip/
ADD plain.tar packed.tar.gz /from-both/
ADD --unpack=false plain.tar /not-unpacked/
ADD not-a.tar /broken/
ADD dir /from-dir/
ADD dir/file /
COPY plain.tar /copied/
ADD --chown=7:8 plain.tar /chowned/
USER 1001
