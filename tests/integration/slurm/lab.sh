#!/usr/bin/env bash
# A cluster of one machine to rent from: munge, Slurm with eight A100s that are only counted, and sshd, all on loopback, without systemd.
#   lab.sh start FOLDER    needs root and the Debian packages slurm-wlm munge openssh-server rsync socat netcat-openbsd lsof
#   lab.sh stop FOLDER
# FOLDER/home is the home of the laptop's side; FOLDER/node-python an interpreter with the training stack that the cluster's user may run.
set -Eeuo pipefail
action=$1 lab=$2
slurm=$lab/slurm user=launcherlab node=$(hostname -s)
ctld_port=${LAB_PORT:-16917} slurmd_port=$((${LAB_PORT:-16917} + 1)) ssh_port=$((${LAB_PORT:-16917} + 2))

if [ "$action" = stop ]; then
  for file in run/slurmd.pid run/slurmctld.pid ssh/sshd.pid munge/munged.pid; do
    [ ! -f "$slurm/$file" ] || kill "$(cat "$slurm/$file")" 2> /dev/null || true
  done
  # What outlives its Slurm job: SkyPilot's daemon on the machine.
  pkill -KILL -u $user || true
  exit 0
fi

mkdir -p "$slurm"/{state,spool,log,run,munge,ssh} "$lab"/{home/.slurm,home/.sky,node-home,shims}
# '*': sshd refuses accounts that are locked.
if id $user > /dev/null 2>&1; then pkill -KILL -u $user && sleep 1 || true; else useradd -M -s /bin/bash $user; fi
usermod -p '*' -d "$lab/node-home" $user
chown $user "$lab/node-home"

# slurmd counts only GPUs that have a device file; plain files do.
for gpu in 0 1 2 3 4 5 6 7; do : > "$slurm/gpu$gpu"; done
echo "NodeName=$node Name=gpu Type=a100 File=$slurm/gpu[0-7]" > "$slurm/gres.conf"
printf 'CgroupPlugin=cgroup/v1\nConstrainCores=no\n' > "$slurm/cgroup.conf"
cat > "$slurm/slurm.conf" <<EOC
ClusterName=lab
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$slurm/munge/munge.sock
CryptoType=crypto/munge
SlurmctldPort=$ctld_port
SlurmdPort=$slurmd_port
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool
SlurmctldPidFile=$slurm/run/slurmctld.pid
SlurmdPidFile=$slurm/run/slurmd.pid
SlurmctldLogFile=$slurm/log/slurmctld.log
SlurmdLogFile=$slurm/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
KillWait=20
MinJobAge=300
SchedulerParameters=sched_interval=2,batch_sched_delay=0,sched_min_interval=100000
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmdParameters=config_overrides
NodeName=$node NodeAddr=127.0.0.1 NodeHostname=$node CPUs=128 RealMemory=2000000 Gres=gpu:a100:8 State=UNKNOWN
PartitionName=debug Nodes=$node Default=YES MaxTime=1-00:00:00 State=UP OverSubscribe=NO
EOC
[ -f "$slurm/munge/munge.key" ] || { dd if=/dev/urandom of="$slurm/munge/munge.key" bs=1024 count=1 status=none; chmod 600 "$slurm/munge/munge.key"; }
chmod 755 "$lab" "$slurm" "$slurm/munge"
chmod 700 "$slurm/run"
export SLURM_CONF=$slurm/slurm.conf
munged --force --key-file="$slurm/munge/munge.key" --socket="$slurm/munge/munge.sock" --pid-file="$slurm/munge/munged.pid" \
  --log-file="$slurm/log/munged.log" --seed-file="$slurm/munge/seed"
slurmctld -f "$slurm/slurm.conf"
slurmd -f "$slurm/slurm.conf"

[ -f "$slurm/ssh/hostkey" ] || ssh-keygen -q -t ed25519 -N '' -f "$slurm/ssh/hostkey"
[ -f "$slurm/ssh/id" ] || ssh-keygen -q -t ed25519 -N '' -f "$slurm/ssh/id"
install -d -o $user -m 700 "$lab/node-home/.ssh"
install -o $user -m 600 "$slurm/ssh/id.pub" "$lab/node-home/.ssh/authorized_keys"
cat > "$slurm/ssh/sshd_config" <<EOC
Port $ssh_port
ListenAddress 127.0.0.1
HostKey $slurm/ssh/hostkey
PidFile $slurm/ssh/sshd.pid
UsePAM no
PasswordAuthentication no
StrictModes no
AcceptEnv *
MaxStartups 200
MaxSessions 200
Subsystem sftp internal-sftp
SetEnv SLURM_CONF=$slurm/slurm.conf PATH=$lab/shims:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
EOC
mkdir -p /run/sshd
/usr/sbin/sshd -f "$slurm/ssh/sshd_config" -E "$slurm/log/sshd.log"
cat > "$lab/home/.slurm/config" <<EOC
Host lab
    HostName 127.0.0.1
    Port $ssh_port
    User $user
    IdentityFile $slurm/ssh/id
    IdentitiesOnly yes
EOC

# SkyPilot brings its own runtime to the machine by uv and a Python it downloads; both come from what is here instead.
[ -x "$lab/tools/bin/uv" ] || { /usr/bin/python3 -m venv "$lab/tools"; "$lab/tools/bin/pip" install --quiet --quiet uv; }
cat > "$lab/shims/curl" <<EOC
#!/bin/bash
for word in "\$@"; do
  [ "\$word" != https://astral.sh/uv/install.sh ] || { echo 'mkdir -p "\${UV_INSTALL_DIR:=\$HOME/.local/bin}" && cp $lab/shims/uv "\$UV_INSTALL_DIR/uv"'; exit 0; }
done
exec /usr/bin/curl "\$@"
EOC
cat > "$lab/shims/uv" <<EOC
#!/bin/bash
export SSL_CERT_FILE=\${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt} UV_PYTHON_DOWNLOADS=never
words=()
while [ \$# -gt 0 ]; do
  if [ "\$1" = --python ] && [[ "\$2" =~ ^3\.1[01]$ ]]; then words+=(--python /usr/bin/python3); shift 2; else words+=("\$1"); shift; fi
done
exec $lab/tools/bin/uv "\${words[@]}"
EOC
printf '#!/bin/bash\nexec "$@"\n' > "$lab/shims/sudo"
chmod 755 "$lab"/shims/*
# A login shell sets PATH anew, so it has to come from here.
cat > "$lab/node-home/.profile" <<EOC
export PATH=$lab/shims:\$PATH SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt SLURM_CONF=$slurm/slurm.conf
EOC
for _ in $(seq 50); do sinfo -h -o %T 2> /dev/null | grep -q idle && exit 0; sleep 0.2; done
sinfo >&2
exit 1
