package host

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// SendWithFile writes data to a unix socket, and with its first byte an open
// file, which the other process gets as one of its own; nil sends none.
func SendWithFile(conn *net.UnixConn, data []byte, f *os.File) error {
	var rights []byte
	if f != nil {
		rights = unix.UnixRights(int(f.Fd()))
	}
	n, _, err := conn.WriteMsgUnix(data, rights, nil)
	if err == nil && n < len(data) {
		_, err = conn.Write(data[n:])
	}
	return err
}

// ReceiveWithFile reads once into buf, and takes the open file that has come with
// it; it is nil where none, or more than one, has.
func ReceiveWithFile(conn *net.UnixConn, buf []byte) (n int, f *os.File, err error) {
	rights := make([]byte, unix.CmsgSpace(4))
	n, nr, _, _, err := conn.ReadMsgUnix(buf, rights) // its descriptors close on exec
	if err != nil {
		return 0, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:nr])
	if err != nil || len(messages) != 1 {
		return n, nil, nil
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return n, nil, nil
	}
	return n, os.NewFile(uintptr(fds[0]), "received"), nil
}

// PeerUser is the user that has connected to a unix socket, as the kernel has it.
func PeerUser(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if cerr != nil {
		return 0, os.NewSyscallError("getsockopt", cerr)
	}
	return cred.Uid, nil
}
