// Package pressure keeps a node from running out of memory, disk and processes:
// it looks what is left, has removed what nobody needs, and has Pods evicted, as
// the pure package evict decides, one at a time.
//
// Where Pods use something up faster than it is looked at, the kernel is first,
// which is not decided here. The package ends no Pod and measures nothing itself:
// it tells an Evictor, and asks what it is given. It may import client-go's
// types, node/evict and node/guard.
package pressure
