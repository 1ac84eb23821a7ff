// All programs of one node's Service data plane: those at sockets, and those at packets for what sockets can't do.
#include "packet.h"
#include "socket.h"

char _license[] SEC("license") = "GPL";
