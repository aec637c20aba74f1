ARG base_image
FROM ${base_image}
ADD attributes.tar /attributes/
USER root
RUN chmod 700 /attributes/user && touch /attributes/dir/new
RUN chmod 755 /capable && echo >>/etc/group
RUN mv /attributes/capable /moved && ln /moved /linked
COPY attributed /copied
USER 1001
