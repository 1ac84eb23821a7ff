#!/bin/sh
# Compiles the programs to ../announce.o and notes in ../announce.sum what they were compiled from.
# Headers that other programs share are in ../../../host/bpf.
# Usage: build.sh [OUTPUT]; clang 14 makes the object that is checked in.
set -eu
cd "$(dirname "$0")"
out=${1:-../announce.o}
flags="-target bpf -mcpu=v3 -O2 -g -Wall -Werror -fdebug-compilation-dir=. -I../../../host/bpf -I/usr/include/$(uname -m)-linux-gnu"
${CLANG:-clang-14} $flags -c announce.c -o "$out"
# What debuggers read goes, what the kernel reads (BTF) stays.
${STRIP:-llvm-strip-14} --strip-debug "$out"
[ $# -gt 0 ] || cat build.sh announce.c *.h ../../../host/bpf/*.h | sha256sum | cut -d' ' -f1 > ../announce.sum
