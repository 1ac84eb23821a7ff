// Package registry reads manifests and blobs from container registries
// (distribution-spec, pull only): through mirrors, with logins, over plain HTTP
// or with certificates of one's own, as configuration in the layout of
// containerd's hosts.toml says ([Config]).
//
// What registries send is hostile until shown otherwise: everything has a limit
// in size and in the time without any data, and content is returned only as far
// as its digest proves it, or together with an error ([Repository.Blob]). A blob
// whose transfer breaks off goes on where it broke off.
//
// The package writes no file and knows nothing of images. It must not import
// other Minato packages.
package registry
