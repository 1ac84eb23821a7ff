package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"minato/internal/cluster"
)

func newImagePullCommand(o *options) *cobra.Command {
	var output string
	var login cluster.ImageLogin
	var passwordStdin bool
	cmd := &cobra.Command{
		Use:   "pull IMAGE...",
		Short: "Fetch images from their registries into the content store",
		Long: `Fetch images from their registries into the content store that all nodes share,
through the mirrors of --registry-config where "minato up" was given that. Every
Pod may use them then, without asking the registry unless its imagePullPolicy is
Always.`,
		Example: `  minato image pull nginx:1.29
  minato image pull registry.example/app@sha256:...
  minato image pull --username me --password-stdin registry.example/app:1 <password.txt
  minato image pull --docker-config ~/.docker/config.json registry.example/app:1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usageError{errors.New("name the images to fetch: `minato image pull IMAGE...`")}
			case passwordStdin != (login.Username != ""):
				return usageError{errors.New("--username and --password-stdin go together: give both or none")}
			case login.Username != "" && login.DockerConfig != "":
				return usageError{errors.New("--username and --docker-config exclude each other")}
			}
			if passwordStdin {
				data, err := readInput(cmd.Context(), cmd.InOrStdin())
				if err != nil {
					return err
				}
				login.Password = strings.TrimRight(string(data), "\r\n")
			}
			return forEachImage(cmd, o.name, args, output, "Pulled", func(ref string) ([]cluster.LoadedImage, error) {
				pulled, err := cluster.PullImage(cmd.Context(), o.name, ref, login, imageProgress(cmd.ErrOrStderr()))
				if err != nil {
					return nil, err
				}
				return []cluster.LoadedImage{pulled}, nil
			})
		},
	}
	cmd.Flags().StringVar(&login.Username, "username", "", "log in to the registry by this name")
	cmd.Flags().BoolVar(&passwordStdin, "password-stdin", false, "read the password of --username from standard input")
	cmd.Flags().StringVar(&login.DockerConfig, "docker-config", "", "take logins from this file, as \"docker login\" writes it")
	outputFlag(cmd, &output)
	return cmd
}

func newImageSaveCommand(o *options) *cobra.Command {
	var file, dir string
	cmd := &cobra.Command{
		Use:               "save IMAGE...",
		ValidArgsFunction: completeImages(o),
		Short:             "Write images of the content store to a file, a directory or standard output",
		Long: `Write images as a tar that is both what "docker save" writes and an OCI layout, or
as an OCI layout into a directory. The layers are the archives that they came
from, not compressed, so the images have the same IDs wherever they are loaded.`,
		Example: `  minato image save -f app.tar app:dev
  minato image save app:dev | docker load
  minato image save --dir layout app:dev db:dev`,
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			switch {
			case len(args) == 0:
				return usageError{errors.New("name the images to save: `minato image save IMAGE...`; `minato image ls` lists them")}
			case file != "" && dir != "":
				return usageError{errors.New("--file and --dir exclude each other")}
			case file == "" && dir == "" && isTerminal(out):
				return usageError{errors.New("standard output is a terminal: give a file by -f, or redirect the output")}
			}
			progress := imageProgress(cmd.ErrOrStderr())
			if file == "" {
				return cluster.SaveImages(cmd.Context(), o.name, args, out, dir, progress)
			}
			return writeWhole(file, func(w io.Writer) error {
				return cluster.SaveImages(cmd.Context(), o.name, args, w, "", progress)
			})
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "write to this file")
	cmd.Flags().StringVar(&dir, "dir", "", "write an OCI layout into this directory, which must be empty or not there yet")
	return cmd
}

// readInput reads a short input until it ends, or ctx does: a read of a terminal
// does not end by a signal.
func readInput(ctx context.Context, in io.Reader) ([]byte, error) {
	done := make(chan struct{})
	var got []byte
	var gotErr error
	go func() {
		defer close(done)
		got, gotErr = io.ReadAll(io.LimitReader(in, 1<<20))
	}()
	select {
	case <-done:
		return got, gotErr
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// writeWhole makes a file that is there only if all of it is. A device or a pipe is
// written to: it must not be replaced, as /dev/null would be.
func writeWhole(path string, write func(io.Writer) error) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the link stays
	}
	switch info, err := os.Stat(path); {
	case err == nil && info.IsDir():
		return usageError{fmt.Errorf("%s is a directory: give the name of a file, or a directory by --dir", path)}
	case err == nil && !info.Mode().IsRegular():
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	err = write(tmp)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

func newImagePruneCommand(o *options) *cobra.Command {
	var all, dry bool
	var output string
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove the images that no container uses",
		Long: `Remove the images that no container of any node uses, and tell how much of the
disk that gives back. Those that were loaded from files stay unless --all is
given: no registry could bring them back.`,
		Example: "  minato image prune\n  minato image prune --all --dry-run",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			pruned, err := cluster.PruneImages(o.name, all, dry)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if output == "json" {
				return printJSON(out, pruned)
			}
			verb, freed := "Removed", "Freed"
			if dry {
				verb, freed = "Would remove", "Would free"
			}
			printLoaded(out, verb, pruned.Images)
			fmt.Fprintf(out, "%s %s\n", freed, size(pruned.Freed))
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove images that were loaded from files, too")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only tell what would be removed")
	outputFlag(cmd, &output)
	return cmd
}
