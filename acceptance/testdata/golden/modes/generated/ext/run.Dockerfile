ARG base_image
FROM ${base_image}
USER root
RUN chmod 700 /data && chown 7:8 /data/old
RUN chmod 6755 /data/old/file && chown 1001:1000 /data/old/file
RUN chmod 4711 /suid && chown 33 /suid
RUN mkdir -m 1777 /sticky && mkdir -m 2775 /setgid && touch /setgid/child && mkdir /setgid/dir
RUN touch -d '2001-02-03 04:05:06' /data/old/file
RUN chown -h 7:8 /data/link && chmod 000 /etc/group
RUN umask 077 && mkdir /private && echo x >/private/x && dd if=/dev/zero of=/private/sparse bs=1 count=1 seek=1M 2>/dev/null
USER 1001
