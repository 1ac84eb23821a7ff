// Package show describes what a node does with its Services, as text for people and as JSON for programs.
//
// It is pure: it arranges what package route explains and the data plane counted, and must decide nothing. It may import
// those two packages.
package show
