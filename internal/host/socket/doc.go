// Package socket has the system calls on open sockets that the standard library does not offer: one attempt to read or
// write without waiting, a look at what has come, moving bytes by splice(2), and what the kernel knows of a connection.
//
// They are for descriptors that do not block, within the functions of syscall.RawConn; where others would wait they return
// syscall.EAGAIN. The package opens no sockets and knows no protocol. It imports the standard library and x/sys/unix alone.
package socket
