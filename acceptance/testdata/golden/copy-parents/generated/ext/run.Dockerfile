ARG base_image
FROM ${base_image}
COPY --parents a/b/file c/*.txt /parents/
COPY --parents a/./b/file /pivot/
COPY --exclude=*.log --exclude=b/skip a /excluded/
COPY --exclude=**/*.txt . /excluded-all/
ADD --exclude=*.log a /added/
USER 1001
