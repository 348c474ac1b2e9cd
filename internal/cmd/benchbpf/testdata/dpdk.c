// SPDX-License-Identifier: Apache-2.0
//
// Runs BPF instructions in DPDK's interpreter.
//
//	dpdk LIBRARY BYTES SECONDS < PROGRAM
//
// LIBRARY is librte_bpf.so; BYTES the size of the zeroed memory in R1. Prints
// R0 and the nanoseconds of the fastest run within SECONDS. The declarations
// are those of rte_bpf.h, so that no DPDK headers are needed to build this.

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct arg {
	int type; /* 0x10: pointer to memory */
	size_t size, buf_size;
};

struct prm {
	const void *ins;
	uint32_t nb_ins;
	const void *xsym;
	uint32_t nb_xsym;
	struct arg prog_arg;
};

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int main(int argc, char **argv)
{
	static uint64_t code[1 << 16];
	struct prm prm = {.ins = code, .prog_arg = {.type = 0x10}};
	uint64_t best = UINT64_MAX, r0 = 0, start, end;
	void *(*load)(const struct prm *);
	uint64_t (*exec)(const void *, void *);
	void *lib, *bpf, *memory;

	if (argc != 4)
		return 2;
	lib = dlopen(argv[1], RTLD_NOW);
	if (!lib) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	load = (void *(*)(const struct prm *))dlsym(lib, "rte_bpf_load");
	exec = (uint64_t (*)(const void *, void *))dlsym(lib, "rte_bpf_exec");
	if (!load || !exec) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	prm.nb_ins = fread(code, 8, sizeof(code) / 8, stdin);
	prm.prog_arg.size = strtoul(argv[2], NULL, 0);
	memory = calloc(1, prm.prog_arg.size);
	bpf = memory ? load(&prm) : NULL;
	if (!bpf) {
		fprintf(stderr, "rte_bpf_load refuses the program\n");
		return 1;
	}
	end = now() + strtoull(argv[3], NULL, 0) * 1000000000;
	do {
		start = now();
		r0 = exec(bpf, memory);
		start = now() - start;
		if (start < best)
			best = start;
	} while (now() < end);
	printf("%llx %llu\n", (unsigned long long)r0, (unsigned long long)best);
	return 0;
}
