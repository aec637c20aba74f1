ARG base_image
FROM ${base_image}
USER root
RUN echo one >/one; printf 'a\tb\n' >/two && cat /one \
    # a comment inside of a command

    /two >/three
RUN mkdir -p /deep/er && cd /deep/er && umask 027 && touch file && echo "$PWD" '$PWD' \
    "it's" >pwd
RUN ( false || echo subshell ) | tr a-z A-Z >/upper; test "$(cat /upper)" = SUBSHELL
RUN true
RUN sleep 0 & wait; echo "quoted \"inside\" and \\ and $$" | sed 's/ [0-9]*$//' >/quoted
USER 1001
