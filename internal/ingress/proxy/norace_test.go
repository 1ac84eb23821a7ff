//go:build !race

package proxy

// racing tells that the race detector runs, under which pools drop some of what is put into them.
const racing = false
