# SPDX-License-Identifier: Apache-2.0
#
# make test is what a change must pass; CONTRIBUTING.md tells about the others.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
GO ?= go
export CGO_ENABLED := 0

# Tools and real images of Debian, unpacked below ${PEEL_CACHE:-~/.cache/peel}; nothing is installed on the machine.
DEPS := $(GO) run ./internal/cmd/deps
TOOLS = $$($(DEPS) core)

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

# The VM tests run by themselves, one machine at a time; everything else is ordinary.
VM := ./internal/vmtest
UNIT = $$($(GO) list ./... | grep -v /internal/vmtest)
# The race detector runs on each package that starts goroutines or shares state.
RACE = $$(grep -rlE --include='*.go' '"sync(/atomic)?"|^[[:space:]]+go (func|[a-zA-Z.]+\()' . \
	| grep -v -e '/internal/vmtest/' -e '/testdata/' -e '^./out/' | xargs -r -n1 dirname | sort -u)

.DEFAULT_GOAL := build
.PHONY: build deps deps-long check unit race pkcs11 vm generated test test-long bench fuzz generate demo clean

## build: static binaries for amd64 and arm64 in out/
build:
	for arch in amd64 arm64; do \
		GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o out/peel-linux-$$arch ./cmd/peel; \
	done
	ls -l out/peel-linux-*

## test: everything that a change must pass
test: deps check generated unit race pkcs11 vm

deps:
	$(DEPS) core

deps-long:
	$(DEPS) core long

check:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi
	GOARCH=amd64 $(GO) vet ./...
	GOARCH=arm64 $(GO) vet ./...
	$(GO) tool staticcheck ./...
	"$(TOOLS)/shellcheck" -S warning .ci/run scripts/*.sh $$(find . -name build.sh -not -path './out/*')

## generated: the committed objects are what their sources give
generated: deps
	scripts/check-generated.sh

unit: deps
	$(GO) test -timeout 20m $(UNIT)

# The cache's compiler serves machines without one; what it links runs with the libraries of the cache.
race: deps
	CGO_ENABLED=1 CC="$(TOOLS)/cc" $(GO) test -race -ldflags=-linkmode=external -timeout 20m $(RACE)

# peel-pkcs11 is a module of its own, since it needs C.
PKCS11 = export CGO_ENABLED=1 CC="$(TOOLS)/cc"; cd pkcs11
pkcs11: deps
	$(GO) build -o out/staticcheck honnef.co/go/tools/cmd/staticcheck
	$(PKCS11); $(GO) vet ./...; ../out/staticcheck ./...; $(GO) test -timeout 10m ./...

# Of each kind of test in a virtual machine one or two cases, less than a quarter of an hour on two cores; test-long runs them all.
VMTEST = $(GO) test -count=1 -p 1 -timeout 30m
vm: deps
	$(VMTEST) $(VM) -run '^(TestUKI|TestUKISecureBoot|TestExtract)$$'
	$(VMTEST) $(VM)/boot -run '^TestVM(KexecLoad(X86|ARM64|RISCV64)|Crash)$$/^(6.12|UKI,_twice|zboot|UKI_of_zboot_on_UEFI|bzImage|Image)$$'
	$(VMTEST) $(VM)/boot -run '^(TestVMKexecLoadUEFI|TestVMTry)$$'
	$(VMTEST) $(VM)/kexec -run '^(TestVMKexec|TestVMLockdown|TestVMFileLoadARM64)$$'
	$(VMTEST) $(VM)/images -run '^(TestLikeItsStub|TestARM64)$$'
	$(VMTEST) $(VM)/measure -run '^(TestPrediction|TestMeasuredKexec|TestRunLog|TestTamperedKexec)$$/^257_secure$$'
	$(VMTEST) $(VM)/run -run '^(TestKernelsX86|TestUKIX86|TestBesideX86|TestTablesX86|TestARM64)$$/^(6.12|forky|Image|UKI_of_vmlinuz-arm64-6.12-gzip.efi)$$'
	$(VMTEST) $(VM)/run -run '^(TestAgreeX86|TestTry|TestCrash)$$/^(UKI|parsed_arm64_Image)$$'
	$(VMTEST) $(VM)/build -run '^(TestSecureBoot|TestHeaderOnlyKexec)$$/^amd64$$'
	$(VMTEST) $(VM)/keys

## test-long: also what is too slow for each change: more kernels, kernels built from source, fuzzing of ten minutes a target
test-long: test deps-long
	$(GO) test -count=1 -p 1 -timeout 120m -tags long $(UNIT) $(VM)/...
	scripts/fuzz.sh 600s

## bench: benchmarks, beside peers on the same input
bench: deps
	$(GO) test -run '^$$' -bench . -benchmem -p 1 -timeout 60m $(UNIT)
	$(GO) test -run '^$$' -bench . -count=1 -p 1 -timeout 60m $(VM)/...
	scripts/bench.sh

## fuzz: each fuzz target for FUZZTIME
FUZZTIME ?= 20s
fuzz:
	scripts/fuzz.sh $(FUZZTIME)

## generate: rebuilds the BPF objects from their C sources, with the clang of the tool cache
generate: deps
	PATH="$(TOOLS):$$PATH" $(GO) generate ./...

## demo: verify, take apart and kexec a signed UKI in a virtual machine, for you to watch
demo: deps
	scripts/demo.sh

clean:
	rm -rf out
