// Package partuse tells what each part of this process uses. All parts share one
// process, whose kernel counts what the whole of it uses and nothing else, so the rest
// is found by samples: of a CPU profile, where goroutines bear the name of the part that
// began them, and of the heap, by whose code has allocated what. Samples are taken while
// somebody asks, and for a minute after that.
//
// The package must not know which parts there are.
package partuse
