// The Service data plane of one node: at sockets where it can, at packets where it must.
#include "packet.h"
#include "socket.h"

char _license[] SEC("license") = "GPL";
