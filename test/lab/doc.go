// Package lab has what tests of the parts that run alone on a node are made of: machines that are network namespaces,
// programs that run in them, and clients and servers that send packets inside of them. It may import anything that tests
// may, but no test.
package lab
