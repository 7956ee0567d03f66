#!/bin/bash
# The first process of a test host: gives it a name, files and an sshd of its own, then reaps orphans.
# It runs in new namespaces, so every mount and name below is seen by this host alone and goes with it.
#   boot.sh NAME FOLDER STORAGE KEPT...
# FOLDER holds home, tmp and etc of the host, STORAGE is the folder all hosts share, and KEPT folders stay
# where they are although a masked folder lies over them.
set -euo pipefail
name=$1 folder=$2 storage=$3
shift 3
hostname "$name"
ip link set lo up

mount -t tmpfs none /run
declare -A at=()
for path in "$folder" "$storage" "$@"; do
    at[$path]=/run/kept/${#at[@]}
    mkdir -p "${at[$path]}"
    mount --rbind "$path" "${at[$path]}"
done
for masked in /tmp /home /srv /dev/shm; do
    mount -t tmpfs none "$masked"
done
mkdir -p /srv/storage /home/sft /run/sshd
mount --rbind "${at[$folder]}/tmp" /tmp
mount --rbind "${at[$folder]}/home" /home/sft
mount --rbind "${at[$storage]}" /srv/storage
for path in "$@"; do
    if [ ! "$path" -ef "${at[$path]}" ]; then
        mkdir -p "$path"
        mount --rbind "${at[$path]}" "$path"
    fi
done
etc=${at[$folder]}/etc
mount --bind "$etc/passwd" /etc/passwd
mount --bind "$etc/hosts" /etc/hosts
/usr/sbin/sshd -f "$etc/sshd_config" -h "$etc/host_key" -E "${at[$folder]}/sshd.log"
touch "${at[$folder]}/booted"
sleep infinity &
wait # bash reaps the orphans of the host, as an init does
