ARG base_image
FROM ${base_image}
USER root
RUN <<EOF
echo "home is $FROM_BASE" >/plain
for i in 1 2 3; do
  echo $i
done >/loop
EOF
RUN <<'EOF'
echo '$FROM_BASE' "\$x" `echo tick` >/literal
EOF
RUN <<-EOF
	echo tabs are gone >/tabs
	cat >/nested <<-INNER
	inner \$x
	INNER
EOF
RUN <<EOF
#!/bin/busybox sh
echo "$0" | sed 's#.*/##' >/interpreter
EOF
RUN cat <<ONE >/one && cat <<"TWO" >/two
expanded ${FROM_BASE}
ONE
literal ${FROM_BASE}
TWO
RUN sh -e <<EOF
echo to another program >/another
EOF
USER 1001
