# hotlua. `make help` lists the targets; settings are variables: make CC=clang BUILD=build-clang
.PHONY: all test check bench demo install uninstall clean help
.DEFAULT_GOAL := all
VERSION ?= 0.1.0
ifeq ($(origin CC),default)
CC := gcc
endif
BUILD   ?= build
PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g
MODE    ?=
PACKAGES = libuv libdw libffi libedit libsodium

WARN  = -Wall -Wextra -Wstrict-prototypes -Wmissing-prototypes -Wshadow -Wpointer-arith
HOST_CFLAGS = -std=gnu11 -D_GNU_SOURCE= $(WARN) $(CFLAGS) $(MODE) -fno-strict-aliasing -fvisibility=hidden -pthread \
              -DHOTLUA_VERSION='"$(VERSION)"' -Isrc -Iinclude \
              $(patsubst -I%,-isystem %,$(shell pkg-config --cflags lua5.4 $(PACKAGES)))
# All of Lua is in the program, and exported: C modules find it there. luaL_openlibs is ours (src/libraries.c).
HOST_LIBS   = -Wl,--whole-archive $(BUILD)/liblua.a -Wl,--no-whole-archive -llua5.4-luv \
              $(shell pkg-config --libs $(PACKAGES)) -lelf -lm -ldl

SOURCES := $(wildcard src/*.c)
OBJECTS := $(SOURCES:src/%.c=$(BUILD)/%.o) $(BUILD)/builtin_files.o
LUA     := $(sort $(shell find lua -name '*.lua'))

all: $(BUILD)/hotlua

$(BUILD)/hotlua: $(OBJECTS) $(BUILD)/liblua.a
	$(CC) $(CFLAGS) $(MODE) -rdynamic -pthread -o $@ $(OBJECTS) $(LDFLAGS) $(HOST_LIBS)

$(BUILD)/%.o: src/%.c Makefile | $(BUILD)
	$(CC) $(HOST_CFLAGS) -MMD -MP -c -o $@ $<

# The Lua files as part of the program: name, text and size of each, as builtin.c reads them.
$(BUILD)/builtin_files.S: $(LUA) Makefile | $(BUILD)
	@{ echo '.section .rodata'; i=0; \
	for f in $(LUA); do i=$$((i+1)); \
	  name=$$(echo $$f | sed 's,^lua/,,;s,/init\.lua$$,,;s,\.lua$$,,;s,/,.,g'); \
	  echo "n$$i: .asciz \"$$name\""; echo "t$$i: .incbin \"$$f\""; echo "e$$i:"; done; \
	echo '.section .data.rel.ro,"aw"'; echo '.balign 8'; \
	echo '.globl builtin_files'; echo '.hidden builtin_files'; echo 'builtin_files:'; \
	for j in $$(seq $$i); do echo ".quad n$$j, t$$j, e$$j - t$$j"; done; echo '.quad 0, 0, 0'; \
	echo '.section .note.GNU-stack,"",%progbits'; } > $@

$(BUILD)/builtin_files.o: $(BUILD)/builtin_files.S
	$(CC) -c -o $@ $<

$(BUILD)/liblua.a: Makefile | $(BUILD)
	cp $(shell $(CC) -print-file-name=liblua5.4.a) $@ && ar d $@ linit.o

$(BUILD):
	mkdir -p $@

SPEC ?= spec
test:             ## install what is missing, build, run the specs
	@sh tools/setup.sh --need test
	@$(MAKE) --no-print-directory all
	$(BUILD)/hotlua test $(SPEC)

demo:             ## install what is missing, build, show the main job in some ten seconds
	@sh tools/setup.sh --need build
	@$(MAKE) --no-print-directory --silent all
	@$(BUILD)/hotlua examples/demo/main.lua

bench:            ## measure, side by side with the floors: calls, reloads, state
	@sh tools/setup.sh --need bench
	@$(MAKE) --no-print-directory --silent all
	@for file in bench/*.lua; do $(BUILD)/hotlua $$file || exit 1; done

SHARE = $(DESTDIR)$(PREFIX)/share
install: all      ## copy program, Lua files, header and man page below PREFIX (default /usr/local)
	install -D -m 755 $(BUILD)/hotlua "$(DESTDIR)$(PREFIX)/bin/hotlua"
	install -D -m 644 include/hotlua/plugin.h "$(DESTDIR)$(PREFIX)/include/hotlua/plugin.h"
	install -D -m 644 man/hotlua.1 "$(SHARE)/man/man1/hotlua.1"
	for file in $(LUA); do \
	  install -D -m 644 $$file "$(SHARE)/hotlua/$$file" || exit 1; done
	install -D -m 644 completions/hotlua.bash "$(SHARE)/bash-completion/completions/hotlua"
	install -D -m 644 completions/_hotlua "$(SHARE)/zsh/site-functions/_hotlua"
	install -D -m 644 completions/hotlua.fish "$(SHARE)/fish/vendor_completions.d/hotlua.fish"

uninstall:        ## remove what install copied
	rm -f "$(DESTDIR)$(PREFIX)/bin/hotlua" "$(DESTDIR)$(PREFIX)/include/hotlua/plugin.h" \
	  "$(SHARE)/man/man1/hotlua.1" "$(SHARE)/bash-completion/completions/hotlua" \
	  "$(SHARE)/zsh/site-functions/_hotlua" "$(SHARE)/fish/vendor_completions.d/hotlua.fish"
	rm -rf "$(SHARE)/hotlua"

clean:            ## remove what make built
	rm -rf $(BUILD)

help:             ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*##/\t/' | expand -t 16

-include $(wildcard tools/*.mk)
-include $(wildcard $(BUILD)/*.d)
