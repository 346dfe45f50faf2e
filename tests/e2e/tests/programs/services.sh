# Runs nginx, sshd and apt as a distribution set them up; each that works is a line.
export DEBIAN_FRONTEND=noninteractive
await() { for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return 0; sleep 0.05; done; "$@"; }
fetched() { curl -sS --max-time 5 http://127.0.0.1/ | grep -q nginx; }
ssh() { command ssh -o StrictHostKeyChecking=no -o BatchMode=yes -o LogLevel=ERROR "$@"; }

nginx >&2 && await fetched && echo nginx serves
ps -C nginx -o user= | sort -u | tr '\n' ' '; echo own nginx
before=$(pgrep -u www-data nginx | sort | tr '\n' ' ')
changed() { [ "$(pgrep -u www-data nginx | sort | tr '\n' ' ')" != "$before" ] && fetched; }
nginx -s reload 2>&2 && await changed && echo nginx serves after a reload

mkdir -p /run/sshd /root/.ssh && chmod 700 /root/.ssh && /usr/sbin/sshd
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519 && cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
await ssh root@127.0.0.1 true
ssh root@127.0.0.1 'echo $(id -un) by ssh'
ssh -tt root@127.0.0.1 'tty | grep -q /dev/pts/ && echo with a terminal' </dev/null | tr -d '\r'
useradd -m bob && cp -r /root/.ssh /home/bob && chown -R bob:bob /home/bob
ssh bob@127.0.0.1 'echo $(id -un) by ssh'

cd /tmp && mkdir -p toy/DEBIAN toy/usr/share/toy && echo installed by apt >toy/usr/share/toy/toy
printf 'Package: toy\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n' >toy/DEBIAN/control
dpkg-deb -b toy toy.deb >&2
{ cat toy/DEBIAN/control; echo Filename: toy.deb; echo "Size: $(stat -c %s toy.deb)"
  echo "SHA256: $(sha256sum toy.deb | cut -d ' ' -f 1)"; } >Packages
mkdir -p /var/www/html/toy && cp toy.deb Packages /var/www/html/toy
rm -f /etc/apt/sources.list.d/* && echo 'deb [trusted=yes] http://127.0.0.1/toy ./' >/etc/apt/sources.list
{ apt-get update && apt-get install -y toy; } >&2 && cat /usr/share/toy/toy
apt-get purge -y toy >&2 && ! [ -e /usr/share/toy ] && echo and removed
