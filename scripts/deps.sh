#!/bin/sh
# Installs what Minato needs from the distribution's packages, if it is missing.
#   deps.sh run               crun or runc, conmon, and curl for the demo
#   deps.sh run test          and what the tests use
#   deps.sh bench             what the benchmarks use besides
#   deps.sh bench-containerd  what the benchmarks of images and of Pods compare with
#   deps.sh bench-ingress     what the benchmark of the Ingress compares with, and loads it with
set -eu

missing=
need() { # need PROGRAM PACKAGE
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

for what in "$@"; do
	case $what in
	run)
		# crun is the faster one; beside version 1 of cgroups, older ones of it
		# can't work, and runc does.
		if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
			command -v runc >/dev/null 2>&1 || need crun crun
		else
			need runc runc
		fi
		need conmon conmon
		need curl curl
		;;
	test)
		need crun crun
		need runc runc
		need ip iproute2
		need nft nftables
		need bpftool bpftool
		need curl curl
		need dig dnsutils
		need jq jq
		need dpkg-deb dpkg
		need busybox busybox-static
		need clang clang
		need bird bird2
		need vtysh frr
		need docker-registry docker-registry
		need skopeo skopeo
		need dbus-daemon dbus-daemon
		need containerd containerd
		[ -e /usr/lib/cni/loopback ] || [ -e /opt/cni/bin/loopback ] || missing="$missing containernetworking-plugins"
		;;
	bench)
		need dnsperf dnsperf
		need ip iproute2
		need nft nftables
		need iptables iptables
		need ipset ipset
		need conntrack conntrack
		;;
	bench-containerd)
		need containerd containerd
		[ -e /usr/lib/cni/loopback ] || [ -e /opt/cni/bin/loopback ] || missing="$missing containernetworking-plugins"
		;;
	bench-ingress)
		need nginx nginx-light
		need haproxy haproxy
		need wrk wrk
		need h2load nghttp2-client
		;;
	*)
		echo "deps.sh: $what: give run, test, bench, bench-containerd or bench-ingress" >&2
		exit 2
		;;
	esac
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" != 0 ]; then
	echo "missing:$missing; install them, or run this as root" >&2
	exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
	echo "missing:$missing; install them with your distribution's package manager" >&2
	exit 1
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of names
apt-get install -y -qq --no-install-recommends $missing >/dev/null

# The tests run these in namespaces of their own; the packages would start them
# on this machine.
case $missing in
*bird2* | *frr* | *nginx* | *haproxy* | *docker-registry* | *containerd*)
	if [ -d /run/systemd/system ]; then
		for service in bird frr nginx haproxy docker-registry containerd; do
			case $missing in *"$service"*) systemctl disable --now -q "$service" ;; esac
		done
	fi
	;;
esac
