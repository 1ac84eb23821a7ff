#!/bin/sh
# Compiles the idle program for each processor to ../idle_ARCH.o and notes in ../idle.sum what it was compiled from.
set -eu
cd "$(dirname "$0")"
flags="-Os -std=c11 -Wall -Werror -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -fno-builtin -fPIC -mno-implicit-float"
for pair in amd64:x86_64-linux-gnu arm64:aarch64-linux-gnu; do
	${CLANG:-clang-14} --target="${pair#*:}" $flags -c idle.c -o "../idle_${pair%%:*}.o"
	${STRIP:-llvm-strip-14} --strip-debug "../idle_${pair%%:*}.o"
done
cat build.sh idle.c | sha256sum | cut -d' ' -f1 > ../idle.sum
