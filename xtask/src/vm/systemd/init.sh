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
# What an earlier scenario left.
rm -f $units/enforcer.service $units/enforcer-closed.service
for unit in enforcer enforcer-closed uplink judge; do rm -f $units/*.wants/$unit.service; done
cp -a /overlay/. /root/
case "$scenario" in
prepare | absent)
    # As if enforcer were not installed.
    rm -rf $units/docker.service.d
    ln -sf /dev/null $units/enforcer.service
    ln -sf /dev/null $units/enforcer-closed.service
    ;;
failing)
    mkdir -p $units/enforcer.service.d
    printf '[Service]\nExecStart=\nExecStart=/bin/false\n' > $units/enforcer.service.d/failing.conf
    ;;
refused)
    echo 'nonsense' > /root/etc/enforcer/enforcer.toml
    ;;
esac
exec switch_root /root /lib/systemd/systemd
