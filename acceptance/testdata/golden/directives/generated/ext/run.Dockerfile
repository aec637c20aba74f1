# escape=`
# check=skip=all

# an ordinary comment
ARG base_image
ARG spelled="${base_image}"
FROM "${base_image}" AS named
user root
run echo 'back\slash' `
  continued >/escaped
Copy file /mixed\case
WORKDIR /win\dir
Run pwd >/where
user 1001
