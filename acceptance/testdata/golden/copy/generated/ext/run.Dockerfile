ARG base_image
FROM ${base_image}
COPY file /renamed
COPY file /into/directory/
COPY dir /dir-contents
COPY dir/ /dir-contents-too/
COPY dir/nested file /several/
COPY *.txt dir/*/deep.txt /by-pattern/
COPY ["with space", "/with space/"]
COPY . /everything
COPY link /link-followed
COPY dir-link /dir-link-followed/
COPY file /data/link/through
COPY file /data/old/file
COPY script.sh /bin/
COPY ünï /
COPY file* /maybe/
USER 1001
