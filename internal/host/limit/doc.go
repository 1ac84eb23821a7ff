// Package limit bounds the connections that a process accepts, so that clients
// cannot use up the file descriptors and the memory that the rest of the process
// needs.
//
// A Budget holds the counts of the whole process: in total, and by source
// address. Each group of listeners has further bounds of its own. A connection
// beyond a bound is reset at once; accepting never blocks, so other sources still
// get through. The machine itself and its nodes have a share each that others cannot
// take. The package must not read or write what a connection carries. It may
// import nothing but the standard library.
package limit
