# SPDX-License-Identifier: Apache-2.0
# Everything one does with a checkout of gate64. `make` lists the targets; V=1 shows commands.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Steps like `deps build lint` follow one another; what is slow in them is parallel by itself.
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory --no-builtin-rules

ifeq ($(V),1)
  Q :=
  msg =
else
  Q := @
  msg = @printf '  %-6s %s\n' $(1) $(2);
endif

ROOT := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
TOOLS := $(ROOT)/.tools/bin
NODE := $(TOOLS)/node
NPM := $(TOOLS)/npm
BIN := node_modules/.bin
OUTPUT := .output
# Scripts of node_modules/.bin start with `env node`, and a user's PATH may lack sbin (ip, nft, nginx).
export PATH := $(TOOLS):$(PATH):/usr/local/sbin:/usr/sbin:/sbin

# Under sudo the checkout stays its owner's: what was made in it is given back.
give_back = $(Q)if [ "$$(id -u)" = 0 ] && [ -n "$${SUDO_UID:-}" ]; then \
	for path in $(1); do if [ -e $$path ]; then chown -Rh "$$SUDO_UID:$${SUDO_GID:-$$SUDO_UID}" $$path; fi; done; fi

PREFIX ?= /usr/local
DESTDIR ?=
LIBDIR = $(PREFIX)/lib/gate64
UNITDIR ?= /etc/systemd/system

CLANG ?= clang
LLVM_STRIP ?= llvm-strip
BPF_CFLAGS := -g -O2 -target bpf -mcpu=v3 -Wall -Wextra -Werror
# `-target bpf` knows no multiarch include path (asm/types.h): take the host compiler's own list.
CLANG_BPF_SYS_INCLUDES = $(shell $(CLANG) -v -E - </dev/null 2>&1 \
	| sed -n '/<...> search starts here:/,/End of search list./{ s| \(/.*\)|-idirafter \1|p }')

BPF_SOURCES := $(wildcard bpf/*.bpf.c)
BPF_OBJECTS := $(patsubst bpf/%.bpf.c,$(OUTPUT)/%.bpf.o,$(BPF_SOURCES))
BPF_FORMATTED := $(wildcard bpf/*.c bpf/*.h)
TYPE_GENERATORS := $(wildcard bpf/gen/drops.ts bpf/gen/layout.ts)
LIB_SOURCES := $(shell find src -name '*.ts') src/tsconfig.json tsconfig.json
SHELL_SCRIPTS = $(shell git ls-files '*.sh' .ci/run)

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z][a-z0-9-]*:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nV=1 shows commands. Without root already there, put sudo before demo, test, test-bpf, test-netns and bench.\n'

.PHONY: deps deps-node deps-demo
deps: deps-node node_modules/.package-lock.json ## Install everything that building, demo and tests need (Debian, Ubuntu)
	$(Q)test/deps/install.sh build demo test
	$(Q)test/deps/coredns.sh >/dev/null
	$(Q)test/deps/kubectl.sh >/dev/null
	$(Q)test/deps/helm.sh >/dev/null
	$(call give_back,.tools node_modules .cache)

deps-demo: deps-node node_modules/.package-lock.json
	$(Q)test/deps/install.sh build demo
	$(call give_back,.tools node_modules)

# Looks each time, since the chosen Node may be gone or too old since; a look takes 50 ms.
deps-node:
	$(Q)test/deps/install.sh build
	$(Q)test/deps/node.sh

$(NODE):
	$(Q)test/deps/install.sh build
	$(Q)test/deps/node.sh

node_modules/.package-lock.json: package-lock.json | $(NODE)
	$(call msg,NPM,node_modules)
	$(Q)$(NPM) ci --no-progress --loglevel=error >/dev/null
	@touch $@

.PHONY: bpf
bpf: $(BPF_OBJECTS) ## Compile the BPF object to .output/ (clang 14 or newer)
	@:

$(OUTPUT)/%.bpf.o: bpf/%.bpf.c Makefile
	@mkdir -p $(OUTPUT)
	$(call msg,BPF,$(@F))
	$(Q)$(CLANG) $(BPF_CFLAGS) $(CLANG_BPF_SYS_INCLUDES) -MMD -MP -MF $(@:.o=.d) -c $< -o $@
	$(Q)$(LLVM_STRIP) -g $@ # DWARF goes, BTF stays

-include $(BPF_OBJECTS:.o=.d)

.PHONY: types
types: bpf | $(NODE) ## Make the TypeScript that follows from bpf/ (layouts from BTF, drop reasons)
	$(Q)for generator in $(TYPE_GENERATORS); do $(NODE) $$generator; done

.PHONY: build
build: dist/gate64 $(BPF_OBJECTS:$(OUTPUT)/%=dist/bpf/%) $(OUTPUT)/lib.stamp ## Build dist/: gate64, its JavaScript, its BPF object
	$(call give_back,dist $(OUTPUT))

dist/bpf/%: $(OUTPUT)/%
	@mkdir -p $(@D)
	$(Q)install -m 644 $< $@

dist/gate64: src/launcher/gate64.sh
	@mkdir -p $(@D)
	$(Q)install -m 755 $< $@

# Compiled aside and moved into place: a removed source leaves no stale module, a failed build leaves the old one.
$(OUTPUT)/lib.stamp: $(LIB_SOURCES) node_modules/.package-lock.json
	@mkdir -p $(OUTPUT) dist
	$(call msg,TSC,dist/lib)
	$(Q)rm -rf $(OUTPUT)/lib && $(BIN)/tsc -p src/tsconfig.json --outDir $(OUTPUT)/lib
	$(Q)rm -rf dist/lib && mv $(OUTPUT)/lib dist/lib
	@touch $@

.PHONY: demo
demo: deps-demo build ## Show it: an IPv6-only "pod" fetches a file from an IPv4-only server by name (root)
	$(Q)$(NODE) test/demo/demo.ts

.PHONY: test
test: deps build ## All tests: lint, unit, meta, BPF, namespaces (root); ends with 'N passed, N failed'
	$(Q)$(NODE) test/helpers/layers.ts lint unit unit-dgram unit-kernel meta bpf netns

.PHONY: test-unit test-meta test-bpf test-netns
test-unit: build ## Unit, property and meta tests (no root)
	$(Q)$(NODE) test/helpers/layers.ts unit unit-dgram meta

test-meta: build
	$(Q)$(NODE) test/helpers/layers.ts meta

test-bpf: build ## Packet tables through BPF_PROG_TEST_RUN (root)
	$(Q)$(NODE) test/helpers/layers.ts bpf

test-netns: build ## End to end in network namespaces (root)
	$(Q)test/deps/coredns.sh >/dev/null
	$(Q)$(NODE) test/helpers/layers.ts netns

# Fetches Debian's kernels once (150 MB); emulates, so that it takes minutes where the others take seconds.
.PHONY: test-kernels
test-kernels: deps build ## Optional, not part of test: Linux 6.1 and 6.12 in emulated machines (root, Debian)
	$(Q)test/deps/install.sh kernels
	$(Q)$(NODE) test/kernels/main.ts
	$(call give_back,.cache)

# Builds Kubernetes once (some 15 minutes), then a cluster is up in half a minute; a form named alone: FORMS=default.
.PHONY: test-kube
test-kube: deps build ## Optional, not part of test: a Kubernetes node with IPv6-only pods, manifests/ applied (root, Debian)
	$(Q)test/kube/run.sh $(FORMS)
	$(call give_back,.cache)

# Wants Debian's mirror and npm's registry: minutes where the others take seconds.
.PHONY: test-packaging
test-packaging: deps build ## Optional, not part of test: image and Debian package built on a bare Debian 12 and run (root, Debian)
	$(Q)test/deps/install.sh packaging
	$(Q)test/packaging/run.sh
	$(call give_back,.cache $(OUTPUT))

.PHONY: lint
lint: bpf node_modules/.package-lock.json ## Types, oxlint, formatting, generated files, shell scripts
	$(call msg,TSC,.)
	$(Q)$(BIN)/tsc -p .
	$(call msg,OXLINT,.)
	$(Q)$(BIN)/oxlint --type-aware --quiet
	$(call msg,FORMAT,.)
	$(Q)$(BIN)/prettier --check --log-level=warn .
	$(Q)if [ "$$(clang-format --version 2>/dev/null | sed -n 's/.*version \([0-9]*\).*/\1/p')" -ge 14 ] 2>/dev/null; then \
		clang-format --dry-run -Werror $(BPF_FORMATTED); \
	else echo '  SKIP   clang-format: none of version 14 or newer here'; fi
	$(call msg,TYPES,'generated files are fresh')
	$(Q)for generator in $(TYPE_GENERATORS); do $(NODE) $$generator --check; done
	$(Q)if command -v shellcheck >/dev/null; then shellcheck -x $(SHELL_SCRIPTS); else echo '  SKIP   shellcheck: not here'; fi

.PHONY: fmt
fmt: node_modules/.package-lock.json ## Format TypeScript, Markdown, YAML and C
	$(Q)$(BIN)/prettier --write --log-level=warn .
	$(Q)if command -v clang-format >/dev/null; then clang-format -i $(BPF_FORMATTED); fi

.PHONY: bench
bench: deps build ## Bulk, packet and DNS rates against peers, interleaved in one run (root)
	$(Q)test/deps/install.sh bench
	$(Q)$(NODE) test/bench/main.ts
	$(call give_back,.output docs)

.PHONY: test-load
test-load: deps build ## Optional, not part of test: a minute each of short connections, none refused (root)
	$(Q)$(NODE) test/load/main.ts

.PHONY: test-million
test-million: deps build ## Optional, not part of test: a million sessions held, listed, swept and run out (root)
	$(Q)$(NODE) test/load/million.ts

.PHONY: test-names
test-names: deps build ## Optional, not part of test: 10 000 new names a second for a minute, none lost (root)
	$(Q)$(NODE) test/load/names.ts

# Some twenty minutes; one alone: make test-hostile ONLY=fragments SECONDS=20
.PHONY: test-hostile
test-hostile: deps build ## Optional, not part of test: floods and races, a minute each, another pod measured beside (root)
	$(Q)GATE64_HAMMER_SECONDS=$(or $(SECONDS),60) test/helpers/sandbox.sh $(NODE) node_modules/mocha/bin/mocha.js \
		--forbid-only test/bpf/two-processors.test.ts
	$(Q)$(NODE) test/hostile/main.ts --seconds $(or $(SECONDS),60) $(if $(ONLY),--only '$(ONLY)')

.PHONY: manifests
manifests: node_modules/.package-lock.json ## Render manifests/ into manifests/install.yaml, for kubectl apply -f
	$(Q)$(NODE) test/meta/manifests.ts
	$(call give_back,manifests .cache)

.PHONY: docs
docs: node_modules/.package-lock.json ## Make the pages of docs/ that follow from code and tests
	$(Q)$(NODE) test/meta/pages.ts

# A Node of the checkout's own goes along; one of the machine's is pointed to.
.PHONY: install
install: build ## Install below PREFIX (/usr/local) with a systemd unit; DESTDIR is honoured
	$(Q)install -d $(DESTDIR)$(LIBDIR)/bin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(UNITDIR)
	$(Q)rm -rf $(DESTDIR)$(LIBDIR)/dist $(DESTDIR)$(LIBDIR)/node_modules
	$(Q)cp -R dist $(DESTDIR)$(LIBDIR)/dist
	$(Q)install -m 644 package.json package-lock.json .npmrc LICENSE CHANGELOG.md README.md $(DESTDIR)$(LIBDIR)/
	$(Q)rm -rf $(DESTDIR)$(LIBDIR)/docs && cp -R docs $(DESTDIR)$(LIBDIR)/docs
	$(call msg,NPM,$(LIBDIR)/node_modules)
	$(Q)cd $(DESTDIR)$(LIBDIR) && $(NPM) ci --omit=dev --no-progress --loglevel=error >/dev/null
	$(Q)node=$$(readlink -f $(NODE)); case $$node in \
		$(ROOT)/*) install -m 755 $$node $(DESTDIR)$(LIBDIR)/bin/node ;; \
		*) ln -sfn $$node $(DESTDIR)$(LIBDIR)/bin/node ;; esac
	$(Q)ln -sfn ../lib/gate64/dist/gate64 $(DESTDIR)$(PREFIX)/bin/gate64
	$(Q)sed 's|@PREFIX@|$(PREFIX)|' manifests/systemd/gate64.service >$(DESTDIR)$(UNITDIR)/gate64.service

.PHONY: deb
deb: build ## Pack a Debian package into .output/deb/, with Node inside
	$(call msg,DEB,$(OUTPUT)/deb)
	$(Q)manifests/debian/build.sh $(OUTPUT)/deb
	$(call give_back,$(OUTPUT))

.PHONY: uninstall
uninstall: ## Remove what install put below PREFIX (first, on the node: gate64 uninstall); the configuration stays
	$(Q)rm -rf $(DESTDIR)$(LIBDIR)
	$(Q)rm -f $(DESTDIR)$(PREFIX)/bin/gate64 $(DESTDIR)$(UNITDIR)/gate64.service

.PHONY: clean
clean: ## Remove what was built (kept: node_modules, .tools, .cache)
	$(Q)rm -rf dist $(OUTPUT)
