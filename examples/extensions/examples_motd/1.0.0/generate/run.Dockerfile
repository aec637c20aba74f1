ARG base_image
FROM ${base_image}

# The file comes from context/ beside this Dockerfile; it is owned by root
# whatever the user is.
COPY --chmod=0644 motd /etc/motd

# Changing what root owns needs root.
USER root
ARG image_kind=unknown
RUN printf 'You are in the %s image.\n' "${image_kind}" >>/etc/motd

# Back to the user that the image had; group_id may be empty.
ARG user_id
ARG group_id
USER ${user_id}${group_id:+:${group_id}}

# These layers may stay when the base image below them is exchanged.
LABEL io.buildpacks.rebasable=true
