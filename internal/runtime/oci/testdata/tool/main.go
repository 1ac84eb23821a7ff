// Command tool is the only program in the images that tests run. Its first
// argument says what to do.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	if len(os.Args) < 2 {
		fail("no command")
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "echo":
		fmt.Println(strings.Join(args, " "))
	case "err":
		fmt.Fprintln(os.Stderr, strings.Join(args, " "))
	case "exit":
		code, _ := strconv.Atoi(args[0])
		os.Exit(code)
	case "sleep":
		d, _ := time.ParseDuration(args[0])
		time.Sleep(d)
	case "cat":
		if len(args) == 0 {
			io.Copy(os.Stdout, os.Stdin)
			return
		}
		for _, name := range args {
			data, err := os.ReadFile(name)
			check(err)
			os.Stdout.Write(data)
		}
	case "mkdir":
		check(os.Mkdir(args[0], 0o755))
	case "write":
		check(os.WriteFile(args[0], []byte(args[1]), 0o644))
	case "mount": // a tmpfs with a file in it
		check(os.MkdirAll(args[0], 0o755))
		check(syscall.Mount("tool", args[0], "tmpfs", 0, "size=64k"))
		check(os.WriteFile(filepath.Join(args[0], "mounted"), nil, 0o644))
	case "ls":
		entries, err := os.ReadDir(args[0])
		check(err)
		for _, e := range entries {
			fmt.Println(e.Name())
		}
	case "id":
		groups, _ := os.Getgroups()
		fmt.Println(os.Getuid(), os.Getgid(), groups)
	case "env":
		fmt.Println(os.Getenv(args[0]))
	case "hostname":
		name, err := os.Hostname()
		check(err)
		fmt.Println(name)
	case "lines": // echoes line by line, saying when it is ready
		fmt.Println("ready")
		for sc := bufio.NewScanner(os.Stdin); sc.Scan(); {
			fmt.Println("got", sc.Text())
			fmt.Fprintln(os.Stderr, "err", sc.Text())
		}
		fmt.Println("eof")
	case "size": // the terminal's size, printed again whenever it changes
		sigs := make(chan os.Signal, 8)
		signal.Notify(sigs, syscall.SIGWINCH)
		for {
			fmt.Println(winsize())
			<-sigs
		}
	case "trap": // ends with 42 on SIGTERM
		sigs := make(chan os.Signal, 1)
		signal.Notify(sigs, syscall.SIGTERM)
		fmt.Println("ready")
		<-sigs
		os.Exit(42)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "ticks": // a line every few milliseconds
		for i := 0; ; i++ {
			fmt.Println("tick", i)
			time.Sleep(5 * time.Millisecond)
		}
	case "listen":
		l, err := net.Listen("tcp", args[0])
		check(err)
		fmt.Println("ready")
		for {
			c, err := l.Accept()
			check(err)
			go func() { io.Copy(c, c); c.Close() }()
		}
	case "eat": // memory, until it is killed
		var keep [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			keep = append(keep, b)
			_ = keep
		}
	case "audit":
		audit()
	case "spin": // on so many threads
		threads, _ := strconv.Atoi(args[0])
		runtime.GOMAXPROCS(threads)
		fmt.Println("ready")
		for range threads {
			go func() {
				for {
				}
			}()
		}
		time.Sleep(time.Hour)
	case "nest": // directories, each in the one before
		check(os.Chdir(args[0]))
		depth, _ := strconv.Atoi(args[1])
		for range depth {
			check(os.Mkdir("d", 0o755))
			check(os.Chdir("d"))
		}
	case "crowd": // so many processes, as far as they can be had
		count, _ := strconv.Atoi(args[0])
		for range count {
			os.StartProcess("/tool", []string{"/tool", "sleep", "1h"}, &os.ProcAttr{})
		}
		time.Sleep(time.Hour)
	case "grow": // a file's size, and the part of it that is written
		size, _ := strconv.ParseInt(args[1], 10, 64)
		written, _ := strconv.Atoi(args[2])
		f, err := os.Create(args[0])
		check(err)
		_, err = f.Write(make([]byte, written))
		check(err)
		check(f.Truncate(size))
		check(f.Sync())
	case "procs":
		dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, d := range dirs {
			data, _ := os.ReadFile(d)
			fmt.Println(strings.ReplaceAll(strings.Trim(string(data), "\x00"), "\x00", " "))
		}
	default:
		fail("unknown command " + os.Args[1])
	}
}

func winsize() string {
	var ws struct{ Row, Col, X, Y uint16 }
	syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&ws)))
	return fmt.Sprintf("%dx%d", ws.Col, ws.Row)
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(s string) {
	fmt.Fprintln(os.Stderr, s)
	os.Exit(99)
}
