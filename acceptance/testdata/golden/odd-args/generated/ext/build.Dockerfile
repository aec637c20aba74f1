ARG base_image
FROM ${base_image}
ARG quotes dollars backslashes spaces equals empty unicode lines json glob percent semicolons UPPER_lower_0 long
RUN printf '<%s>\n' "$quotes" "$dollars" "$backslashes" "$spaces" "$equals" "$empty" "$unicode" "$lines" "$json" "$glob" "$percent" "$semicolons" "$UPPER_lower_0" >/tmp/args; printf %s "$long" | wc -c >>/tmp/args
ENV FROM_QUOTES=$quotes FROM_SPACES=${spaces} FROM_LINES="$lines"
LABEL json=$json "with space"="$dollars" glob=${glob}
RUN printf '<%s>\n' "$FROM_QUOTES" "$FROM_SPACES" "$FROM_LINES" >/tmp/env
COPY <<EOF /tmp/heredoc
$quotes $dollars $backslashes $json $percent
EOF
WORKDIR /tmp/$UPPER_lower_0
RUN pwd >where
