package plan

const (
	// Provisioner is what a StorageClass names that has directories of nodes made.
	Provisioner = "minato.local/directory"
	// ClassName is the StorageClass that every cluster gets.
	ClassName = "standard"
	// Finalizer keeps a PersistentVolume until its directory is dealt with.
	Finalizer = "minato.local/directory"
	// SizeAnnotation on a PersistentVolume says what its capacity means.
	SizeAnnotation = "minato.local/capacity"
)

// SizeNote is the value of SizeAnnotation.
const SizeNote = "not enforced: a directory may take as much as is free on the disk of its node"
