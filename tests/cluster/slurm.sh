#!/usr/bin/env bash
# A one-node SLURM (munged, slurmctld, slurmd) as root without systemd, with fake GPUs:
#   slurm.sh start STATE GPUS | slurm.sh stop STATE
# Needs Debian's slurm-wlm and munge. The configuration has to be /etc/slurm, as Snakemake's plugin drops SLURM_CONF from a job's
# environment; a machine that has one there already is left alone.
set -euo pipefail
what=$1 S=$2 GPUS=${3:-1} HOST=$(hostname -s) ETC=/etc/slurm
MARK="# made by tests/cluster/slurm.sh"

if [ "$what" = stop ]; then
  # Jobs that a failed test left would outlive the daemons.
  timeout 20 scancel -u root || true
  for _ in $(seq 50); do [ -z "$(timeout 5 squeue -h -t R,CG 2>/dev/null)" ] && break; sleep 0.2; done
  for daemon in slurmd slurmctld munged; do
    pid=$(cat "$S/run/$daemon.pid" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  done
  if grep -qsF "$MARK" "$ETC/slurm.conf"; then rm -f "$ETC"/{slurm,gres,cgroup}.conf; fi
  exit 0
fi

if [ -e "$ETC/slurm.conf" ] && ! grep -qF "$MARK" "$ETC/slurm.conf"; then
  echo "$ETC/slurm.conf is there: this machine belongs to a cluster" >&2
  exit 3
fi
mkdir -p "$S"/{ctld,spool,log,run,munge} "$ETC"
chmod 755 "$S"
chmod 700 "$S/munge"
[ -f "$S/munge/key" ] || (umask 077 && head -c 128 /dev/urandom > "$S/munge/key")

cat > "$ETC/slurm.conf" <<CONF
$MARK
ClusterName=onenode
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$S/run/munge.sock
CredType=cred/munge
StateSaveLocation=$S/ctld
SlurmdSpoolDir=$S/spool
SlurmctldPidFile=$S/run/slurmctld.pid
SlurmdPidFile=$S/run/slurmd.pid
SlurmctldLogFile=$S/log/slurmctld.log
SlurmdLogFile=$S/log/slurmd.log
# No cgroups, which containers lack: memory is watched by asking every second.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
MinJobAge=900
ReturnToService=2
KillWait=3
GresTypes=gpu
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=${CPUS:-2} RealMemory=${MEMORY_MB:-6000} Gres=gpu:fake:$GPUS State=UNKNOWN
PartitionName=cpu Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$HOST MaxTime=INFINITE State=UP
CONF
# A GPU is a character device; clones of /dev/null will do.
for i in $(seq 0 $((GPUS - 1))); do
  rm -f "$S/nvidia$i"
  mknod "$S/nvidia$i" c 1 3
  echo "NodeName=$HOST Name=gpu Type=fake File=$S/nvidia$i Flags=nvidia_gpu_env"
done > "$ETC/gres.conf"
echo "CgroupAutomount=no" > "$ETC/cgroup.conf"

/usr/sbin/munged --force --socket="$S/run/munge.sock" --key-file="$S/munge/key" \
  --pid-file="$S/run/munged.pid" --log-file="$S/munge/munged.log" --seed-file="$S/munge/seed"
/usr/sbin/slurmctld -c
/usr/sbin/slurmd -N "$HOST"
for _ in $(seq 30); do
  [ "$(sinfo -h -p cpu -o %t 2>/dev/null)" = idle ] && exit 0
  sleep 1
done
echo "the node did not become idle" >&2
tail -n 20 "$S"/log/*.log >&2
exit 1
