// Package settings has the fields of a KubeletConfiguration that a node can be
// given, with what they are where they are left out. A field that nothing acts on
// is not among them, so that whoever reads settings can refuse it by its name.
//
// It is pure: values in, values or an error that names the field out.
package settings
