# hotlua: make, make test, make check, make bench, make install PREFIX=..., make help
CC      ?= gcc
BUILD   ?= build
PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g
PACKAGES = libuv libdw libffi libedit libsodium

WARN  = -Wall -Wextra -Wstrict-prototypes -Wmissing-prototypes -Wshadow -Wpointer-arith
HOST_CFLAGS = -std=gnu11 $(WARN) $(CFLAGS) -fno-strict-aliasing -pthread -Isrc -Iinclude \
              $(shell pkg-config --cflags lua5.4 $(PACKAGES))
HOST_LIBS   = -l:liblua5.4.a -llua5.4-luv $(shell pkg-config --libs $(PACKAGES)) -lelf -lm -ldl

SOURCES := $(wildcard src/*.c)
OBJECTS := $(SOURCES:src/%.c=$(BUILD)/%.o) $(BUILD)/builtin.o
LUA     := $(shell find lua -name '*.lua')

$(BUILD)/hotlua: $(OBJECTS)
	$(CC) $(CFLAGS) -rdynamic -pthread -o $@ $(OBJECTS) $(LDFLAGS) $(HOST_LIBS)

$(BUILD)/%.o: src/%.c | $(BUILD)
	$(CC) $(HOST_CFLAGS) -MMD -MP -c -o $@ $<

# The Lua files, built into the program: a table of names and texts for builtin.c's searcher.
$(BUILD)/builtin.S: $(LUA) Makefile | $(BUILD)
	@{ echo '.section .rodata'; i=0; table=; \
	for f in $(LUA); do i=$$((i+1)); name=$$(echo $$f | sed 's,^lua/,,;s,/init\.lua$$,,;s,\.lua$$,,;s,/,.,g'); \
	  echo "n$$i: .asciz \"$$name\""; echo "t$$i: .incbin \"$$f\""; echo "e$$i:"; done; \
	echo '.section .data.rel.ro,"aw"'; echo '.balign 8'; echo '.globl builtin_files'; echo 'builtin_files:'; \
	for j in $$(seq $$i); do echo ".quad n$$j, t$$j, e$$j - t$$j"; done; echo '.quad 0, 0, 0'; \
	echo '.section .note.GNU-stack,"",%progbits'; } > $@

$(BUILD)/builtin.o: $(BUILD)/builtin.S
	$(CC) -c -o $@ $<

$(BUILD):
	mkdir -p $@

-include $(wildcard $(BUILD)/*.d)
