// Package show tells what a node does with its Services, in words for people and as data for programs.
//
// It is pure: it arranges what package route explains and the data plane counted, and must decide nothing. It may import
// those two packages.
package show
