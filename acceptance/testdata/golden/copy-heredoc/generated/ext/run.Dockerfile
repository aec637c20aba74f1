ARG base_image
FROM ${base_image}
ARG name=world
COPY <<EOF /etc/greeting
hello ${name}, \${name} and "quotes" 'here'
EOF
COPY <<"EOF" /etc/literal
hello ${name}
EOF
COPY --chmod=0750 --chown=7:8 <<-EOF /usr/bin/made
	#!/bin/sh
	echo made
EOF
COPY <<one.txt <<two.txt file /several/
1
one.txt
2
two.txt
ADD <<end /added
added
end
COPY <<empty /empty
empty
USER 1001
