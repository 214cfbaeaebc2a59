#!/bin/busybox sh
# The first program of the machine: makes the scenario out of the prepared root, then hands over.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/modules/$module"; done < /modules/order
while [ ! -b /dev/vda ]; do sleep 0.1; done
mount -t ext4 -o rw /dev/vda /root
for word in $(cat /proc/cmdline); do
    case "$word" in scenario=*) scenario=${word#scenario=} ;; esac
done
units=/root/etc/systemd/system
# They are on the disk since it was prepared, and a link is not copied over another.
rm -f $units/multi-user.target.wants/uplink.service $units/multi-user.target.wants/judge.service
case "$scenario" in
# Without enforcer; the machine itself installs it.
prepare | absent | packaged) cp -a /overlay/. /root/ ;;
*) cp -a /overlay/. /installed/. /root/ ;;
esac
case "$scenario" in
failing)
    mkdir -p $units/enforcer.service.d
    printf '[Service]\nExecStart=\nExecStart=/bin/false\n' > $units/enforcer.service.d/failing.conf
    ;;
refused)
    echo 'nonsense' > /root/etc/enforcer/enforcer.toml
    ;;
esac
exec switch_root /root /lib/systemd/systemd
