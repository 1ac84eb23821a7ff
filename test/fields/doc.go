// Package fields checks that no field of a Pod is accepted and ignored: its test
// walks over the API's types and asks a table how each field is dealt with.
//
// It has no code of its own, and may import everything.
package fields
