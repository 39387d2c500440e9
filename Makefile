# hotlua. `make help` lists the targets; settings are variables: make CC=clang BUILD=build-clang
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
# All of Lua is in the program, and exported: C modules find it there.
HOST_LIBS   = -Wl,--whole-archive -l:liblua5.4.a -Wl,--no-whole-archive -llua5.4-luv \
              $(shell pkg-config --libs $(PACKAGES)) -lelf -lm -ldl

SOURCES := $(wildcard src/*.c)
OBJECTS := $(SOURCES:src/%.c=$(BUILD)/%.o) $(BUILD)/builtin_files.o
LUA     := $(sort $(shell find lua -name '*.lua'))

$(BUILD)/hotlua: $(OBJECTS)
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

$(BUILD):
	mkdir -p $@

-include tools/check.mk
-include $(wildcard $(BUILD)/*.d)
