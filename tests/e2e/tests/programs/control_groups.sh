# Tries, inside a guest, to end all processes of its control group, outer ones among them.
attack='mount -t tmpfs none /mnt && mkdir /mnt/2 /mnt/1
mount -t cgroup2 none /mnt/2 && echo 1 >/mnt/2/cgroup.kill
mount -t cgroup -o freezer none /mnt/1 && echo ESCAPED: a hierarchy of version 1
find /mnt/2 -name cgroup.procs | grep -q . && echo ESCAPED: the hierarchy is mounted'
for options in -C -Cm -UrCm -Ur -Urm -m; do
    unshare $options true 2>/dev/null && case $options in *C*) echo ESCAPED: unshare $options ;; esac
    case $options in *m) unshare $options sh -c "$attack" 2>/dev/null ;; esac
done
echo 1 >/proc/sys/user/max_cgroup_namespaces
unshare -C true 2>/dev/null && echo ESCAPED: a limit of its own
unshare -Ur sh -c 'echo 1 >/proc/sys/user/max_cgroup_namespaces; unshare -C true' 2>/dev/null &&
    echo ESCAPED: the limit of a namespace of its own
for file in $(grep -o ' /[^ ]* [^ ]* .* - cgroup2\? ' /proc/self/mountinfo | cut -d ' ' -f 3); do
    for name in cgroup.kill cgroup.procs cgroup.freeze; do
        find "$file" -name $name -writable | grep -q . && echo "ESCAPED: $file/.../$name can be written"
    done
done
echo held
