ARG base_image
FROM ${base_image}
USER root
RUN useradd --uid 2000 --create-home --shell /bin/sh golden && groupadd --gid 3000 goldens && usermod -aG goldens golden && rm -f /etc/*-
RUN install -D -m 0750 -o golden -g goldens /bin/true /opt/golden/bin/true && ln -s ../bin/true /opt/golden/link
RUN dpkg-divert --quiet --local --no-rename --add /etc/issue && rm -rf /usr/share/doc/adduser
RUN cp -a /etc/skel /opt/skel && mv /usr/share/common-licenses /opt/licenses
RUN perl -e 'my %n = (x86_64 => 188, aarch64 => 5); chomp(my $m = `uname -m`); my @a = ("/opt/golden/bin/true", "user.golden", "value"); syscall($n{$m}, $a[0], $a[1], $a[2], 5, 0) == 0 or die $!' && cp -a /opt/golden/bin/true /opt/golden/copy
RUN tar -C /opt -cf - skel | tar -C /srv -xf -
USER golden
RUN touch ~/mine && id -Gn >~/groups
WORKDIR /home/golden/work
USER 2000
