package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"minato/internal/cluster"
)

func newImageCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "image",
		Short:   "Load, pull, save, list and remove the images that all nodes share",
		Example: "  minato image load app.tar\n  minato image pull nginx:1.29\n  minato image ls\n  minato image rm app:dev",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := knownCommand(cmd, args); err != nil {
				return err
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newImageLoadCommand(o), newImagePullCommand(o), newImageSaveCommand(o), newImageListCommand(o), newImageRemoveCommand(o), newImagePruneCommand(o))
	return cmd
}

func newImageLoadCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "load FILE...",
		Short: "Put images into the content store, for every node at once",
		Long: `Put the images of files into the content store that all nodes share. A file is
what "docker save" or "podman save" writes, or an OCI layout as a directory or
an archive, compressed or not; - is standard input. A name that was loaded means
this image until it is removed: no node asks a registry for it, whatever the
Pod's imagePullPolicy.`,
		Example: `  docker save app:dev -o app.tar && minato image load app.tar
  docker save app:dev | minato image load -
  minato image load layout/`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("name the files to load: `minato image load FILE...`, with - for standard input")}
			}
			return forEachImage(cmd, o.name, args, output, "Loaded", func(file string) ([]cluster.LoadedImage, error) {
				return cluster.LoadImages(cmd.Context(), o.name, file, cmd.InOrStdin(), imageProgress(cmd.ErrOrStderr()))
			})
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// forEachImage gets images by each of the arguments and tells which came, also where
// others fail, and which nodes of the cluster have images of their own. A signal ends it.
func forEachImage(cmd *cobra.Command, name string, args []string, output, verb string, get func(arg string) ([]cluster.LoadedImage, error)) error {
	out := cmd.OutOrStdout()
	all := []cluster.LoadedImage{}
	var errs []error
	for _, arg := range args {
		got, err := get(arg)
		all = append(all, got...)
		if output == "" {
			printLoaded(out, verb, got)
		}
		if err != nil {
			errs = append(errs, err)
		}
		if cmd.Context().Err() != nil {
			break
		}
	}
	if output == "json" {
		errs = append(errs, printJSON(out, all))
	}
	if len(all) > 0 {
		tellNodesWithout(cmd.ErrOrStderr(), name)
	}
	if len(errs) == 1 {
		return errs[0] // which says by its kind what is wrong
	}
	return errors.Join(errs...)
}

func tellNodesWithout(out io.Writer, name string) {
	if text := cluster.NodesWithoutImages(name); text != "" {
		fmt.Fprintln(out, text)
	}
}

// printLoaded prints a line for each name, or for an image without one its ID.
func printLoaded(out io.Writer, verb string, images []cluster.LoadedImage) {
	for _, img := range images {
		if len(img.Names) == 0 {
			fmt.Fprintf(out, "%s %s\n", verb, img.ID)
		}
		for _, name := range img.Names {
			fmt.Fprintf(out, "%s %s\n", verb, name)
		}
	}
}

// imageProgress draws a line that changes, on a terminal only.
func imageProgress(out io.Writer) cluster.ImageProgress {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	var drawn time.Time
	return func(image string, done, total int64) {
		now := time.Now()
		if done < total && now.Sub(drawn) < 50*time.Millisecond {
			return
		}
		drawn = now
		if total > 0 {
			fmt.Fprintf(out, "\r\x1b[K%s %d%% of %s", image, 100*done/total, size(total))
		}
		if done >= total {
			fmt.Fprint(out, "\r\x1b[K")
		}
	}
}

func newImageListCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the images that every node can run",
		Example: "  minato image ls\n  minato image ls -o json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			images, err := cluster.ListImages(o.name)
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), images)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
			fmt.Fprintln(w, "IMAGE\tID\tSIZE\tADDED")
			for _, img := range images {
				id := strings.TrimPrefix(img.ID, "sha256:")
				names := img.Names
				if len(names) == 0 && len(img.Digests) > 0 {
					names = img.Digests[:1] // what was pulled by its digest
				}
				if len(names) == 0 {
					names = []string{"<none>"}
				}
				for _, name := range names {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", name, id[:min(12, len(id))], size(img.Size), img.AddedAt.Local().Format("2006-01-02 15:04"))
				}
			}
			return w.Flush()
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func newImageRemoveCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:               "rm IMAGE...",
		ValidArgsFunction: completeImages(o),
		Short:             "Remove images from the content store",
		Long: `Remove names from the images that all nodes share. With its last name an image
goes, unless a container uses it. NAME@sha256:... stands for all names that the
repository NAME has for the image, and the image's ID for all of its names.`,
		Example: "  minato image rm app:dev\n  minato image rm registry.example/app@sha256:...",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("name the images to remove: `minato image rm IMAGE...`; `minato image ls` lists them")}
			}
			var errs []error
			removed := []string{}
			for _, ref := range args {
				if err := cluster.RemoveImage(o.name, ref); err != nil {
					errs = append(errs, err)
					continue
				}
				removed = append(removed, ref)
				if output == "" {
					fmt.Fprintf(cmd.OutOrStdout(), "Removed %s\n", ref)
				}
			}
			if output == "json" {
				errs = append(errs, printJSON(cmd.OutOrStdout(), removed))
			}
			return errors.Join(errs...)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// size prints bytes for people.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, u := float64(n), 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[u])
}
