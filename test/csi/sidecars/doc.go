// Package sidecars names the programs that stand beside a CSI driver: they watch the
// API and call the driver's controller. They are upstream's, tools of this module's
// go.mod, of which test/images makes images. It is a module of its own, so that what
// only they need is no dependency of Minato. It does nothing.
package sidecars
