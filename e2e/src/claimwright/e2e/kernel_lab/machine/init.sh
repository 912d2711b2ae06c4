#!/bin/busybox sh
# The lab's first process: lays a root in memory over the host's files (9p, read-only), and runs the project's Python there.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
for module in mdev mtty; do
    insmod "/lib/modules/$module.ko" || echo "claimwright-lab: $module cannot be loaded"
done
ip link set lo up 2>/dev/null || ifconfig lo 127.0.0.1 up
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,ro,cache=loose host /lower || poweroff -f
mount -t tmpfs tmpfs /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work overlay /host || poweroff -f
mount -t proc proc /host/proc
mount -t sysfs sysfs /host/sys
mount --rbind /dev /host/dev
. /lab/environment
cp /lab/request.json /dev/shm/request.json
chroot /host "$LAB_PYTHON" -m claimwright.e2e.kernel_lab.inside /dev/shm/request.json /dev/ttyS1
echo "claimwright-lab: the program inside ended with $?"
poweroff -f
