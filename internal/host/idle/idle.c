// The idle program, in a few hundred bytes. Without arguments it waits for
// ever, so that what a process holds stays: a process namespace, open sockets.
//
// With a command as its arguments it also watches a process, by the pidfd that
// is descriptor 3, and runs the command when that process ends: at first the
// process is the one that started the idle program, then each one that the idle
// program started itself.
//
// It runs without a C library, at whatever address it is loaded at, and has no
// data of its own: only its text section is used.

typedef unsigned long word;

enum { STREAMS = 3, WATCHED = 3, SIGCHLD = 17, EINTR = 4 };
enum { CLOSE_RANGE_CLOEXEC = 4, CLOCK_MONOTONIC = 1, POLLIN = 1 };
enum { CLONE_PIDFD = 0x1000, O_CLOEXEC = 02000000 };

#if defined(__x86_64__)
enum { CLONE = 56, EXECVE = 59, EXIT = 60, RT_SIGACTION = 13, CLOCK_GETTIME = 228, DUP3 = 292, PPOLL = 271, NANOSLEEP = 35, CLOSE = 3, CLOSE_RANGE = 436 };
static inline word call(word n, word a, word b, word c, word d, word e) {
	word r;
	register word r10 __asm__("r10") = d;
	register word r8 __asm__("r8") = e;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return r;
}
__asm__(".section .text,\"ax\"\n.globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall run\n");
#elif defined(__aarch64__)
enum { CLONE = 220, EXECVE = 221, EXIT = 93, RT_SIGACTION = 134, CLOCK_GETTIME = 113, DUP3 = 24, PPOLL = 73, NANOSLEEP = 101, CLOSE = 57, CLOSE_RANGE = 436 };
static inline word call(word n, word a, word b, word c, word d, word e) {
	register word x8 __asm__("x8") = n;
	register word x0 __asm__("x0") = a;
	register word x1 __asm__("x1") = b;
	register word x2 __asm__("x2") = c;
	register word x3 __asm__("x3") = d;
	register word x4 __asm__("x4") = e;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
}
__asm__(".section .text,\"ax\"\n.globl _start\n_start:\n\tmov x0, sp\n\tbl run\n");
#endif

struct action { word handler, flags, restorer, mask; };
struct timespec { long sec, nsec; };
struct pollfd { int fd; short events, revents; };

// handle sets the action for SIGCHLD: 0 is SIG_DFL; 1 is SIG_IGN, with which
// the kernel reaps children.
static inline void handle(word handler) {
	struct action a;
	a.handler = handler;
	a.flags = a.restorer = a.mask = 0;
	call(RT_SIGACTION, SIGCHLD, (word)&a, 0, sizeof(a.mask), 0);
}

static inline void await(struct pollfd *p, word count) {
	while (call(PPOLL, (word)p, count, 0, 0, 0) == (word)-EINTR)
		;
}

static inline long now(void) {
	struct timespec t;
	call(CLOCK_GETTIME, CLOCK_MONOTONIC, (word)&t, 0, 0, 0);
	return t.sec;
}

__attribute__((used, noreturn)) static void run(word *stack) {
	word argc = stack[0];
	char **argv = (char **)(stack + 1), **envp = argv + argc + 1;
	handle(1);
	if (argc < 2)
		for (;;)
			await(0, 0);
	// The command inherits standard input, output and error, and no other
	// descriptor.
	call(CLOSE_RANGE, STREAMS, ~0u, CLOSE_RANGE_CLOEXEC, 0, 0);
	// The first start follows at once. The pauses before the next ones grow
	// until a process has lasted for a while.
	enum { FIRST = 20, LONGEST = 5000, STEADY = 20 }; // ms, ms, s
	long pause = FIRST, began = now() - STEADY;
	struct pollfd watched;
	watched.fd = WATCHED;
	watched.events = POLLIN;
	for (;;) {
		await(&watched, 1);
		pause = now() - began < STEADY ? pause * 2 : FIRST;
		if (pause > LONGEST)
			pause = LONGEST;
		struct timespec t;
		t.sec = pause / 1000;
		t.nsec = pause % 1000 * 1000000;
		call(NANOSLEEP, (word)&t, 0, 0, 0, 0);
		began = now();
		int pidfd = -1;
		long pid = call(CLONE, SIGCHLD | CLONE_PIDFD, 0, (word)&pidfd, 0, 0);
		if (pid == 0) {
			handle(0);
			call(EXECVE, (word)argv[1], (word)(argv + 1), (word)envp, 0, 0);
			call(EXIT, 127, 0, 0, 0, 0);
		}
		if (pid < 0)
			continue; // the pidfd of the ended process is still watched, so this is tried again
		call(DUP3, pidfd, WATCHED, O_CLOEXEC, 0, 0);
		call(CLOSE, pidfd, 0, 0, 0, 0);
	}
}
