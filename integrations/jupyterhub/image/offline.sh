#!/bin/sh
# Makes a guest's image without any registry: Debian by debootstrap, Jupyter by pip, from mirrors that you name.
#   image/offline.sh quay.io/jupyter/base-notebook:hub-5.4.6
#   MIRROR=http://debian.internal/debian PIP_INDEX_URL=http://pypi.internal/simple image/offline.sh NAME
# Root, on a host with debootstrap; `docker import` speaks with the engine itself, not with a gate.
set -eu

name=${1:?name of the image}
mirror=${MIRROR:-http://deb.debian.org/debian}
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" "$mirror"
# The network's name servers, while this is made; guests get enforcer's.
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp "$here/requirements.txt" "$root/tmp/requirements.txt"
# And whom this host trusts: a mirror's certificate may be of your own authority.
cp /etc/ssl/certs/ca-certificates.crt "$root/tmp/trusted.crt"
chroot "$root" python3 -m venv /opt/jupyter
chroot "$root" env -i PATH=/usr/bin:/bin HOME=/root PIP_CERT=/tmp/trusted.crt \
    ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} \
    /opt/jupyter/bin/pip install --no-cache-dir --require-hashes --requirement /tmp/requirements.txt
chroot "$root" useradd --create-home --shell /bin/bash --uid 1000 jovyan
chroot "$root" apt-get clean
rm -rf "$root"/tmp/* "$root/etc/resolv.conf" "$root"/var/lib/apt/lists/*

tar --create --directory "$root" --numeric-owner . |
    docker import \
        --change 'ENV PATH=/opt/jupyter/bin:/usr/local/bin:/usr/bin:/bin HOME=/home/jovyan' \
        --change 'USER jovyan' \
        --change 'WORKDIR /home/jovyan' \
        --change 'EXPOSE 8888' \
        --change 'CMD ["jupyterhub-singleuser"]' \
        - "$name"
