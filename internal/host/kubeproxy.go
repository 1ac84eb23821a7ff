package host

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"unsafe"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// kubeProxyChain is a chain that kube-proxy has in every mode but nftables; kubelet's own chains have other names.
const kubeProxyChain = "KUBE-SERVICES"

// KubeProxyRules names what kube-proxy left in this process's network
// namespace: it would translate the packets of Services a second time.
func KubeProxyRules() []string {
	var found []string
	if c, err := nftables.New(); err == nil {
		tables, _ := c.ListTables() // a kernel without nftables has none of its rules
		for _, t := range tables {
			if t.Name == "kube-proxy" {
				found = append(found, "the nftables table kube-proxy")
			}
		}
		chains, _ := c.ListChains()
		for _, chain := range chains {
			if chain.Name == kubeProxyChain {
				found = append(found, "the iptables chain "+kubeProxyChain)
			}
		}
	}
	if legacyNAT(kubeProxyChain) {
		found = append(found, "the legacy iptables chain "+kubeProxyChain)
	}
	if n, err := OpenNet(Netns{}); err == nil {
		defer n.Close()
		if _, is, _ := n.Link("kube-ipvs0"); is {
			found = append(found, "the interface kube-ipvs0")
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// The requests of <linux/netfilter_ipv4/ip_tables.h>.
const (
	iptInfo    = 64
	iptEntries = 65
)

// legacyNAT looks for a chain in the table nat of the older iptables. Its rules
// are one block of bytes, in which each chain begins with its name.
func legacyNAT(chain string) bool {
	tables, err := os.ReadFile("/proc/thread-self/net/ip_tables_names") // asking for the table would load the module
	if err != nil || !slices.Contains(strings.Fields(string(tables)), "nat") {
		return false
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	const nameLen, infoLen, entriesHeader = 32, 84, 40
	info := make([]byte, infoLen)
	copy(info, "nat")
	if !getsockopt(fd, iptInfo, info) {
		return false
	}
	size := binary.NativeEndian.Uint32(info[infoLen-4:])
	entries := make([]byte, entriesHeader+int(size))
	copy(entries, "nat")
	binary.NativeEndian.PutUint32(entries[nameLen:], size)
	return getsockopt(fd, iptEntries, entries) && bytes.Contains(entries, []byte(chain+"\x00"))
}

// getsockopt lets the kernel read and fill buf, which no function of x/sys/unix does.
func getsockopt(fd, option int, buf []byte) bool {
	n := uint32(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_IP, uintptr(option),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&n)), 0)
	return errno == 0
}
