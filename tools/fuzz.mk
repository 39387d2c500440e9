# `make fuzz`: coverage-guided, under ASan, for FUZZ_SECONDS each. What breaks is kept as a file in
# $(BUILD)/fuzz; run the target with that file as argument to see it again.
.PHONY: check-fuzz fuzz fuzz-elf fuzz-dwarf fuzz-calls
FUZZ_SECONDS ?= 60
FUZZ = $(BUILD)/fuzz
FUZZ_FLAGS = -std=gnu11 -D_GNU_SOURCE= -O1 -g -fno-strict-aliasing -fsanitize=fuzzer,address,undefined \
             -fno-sanitize-recover=undefined \
             -fno-sanitize=pointer-overflow -pthread -Isrc -Iinclude
FUZZ_RUN = -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=4096 -print_final_stats=1
FUZZ_ELF = src/memory.c src/error.c $(wildcard src/elf_*.c) fuzz/mutate.c
FUZZ_DWARF = $(FUZZ_ELF) $(wildcard src/debuginfo*.c src/types*.c src/cdecl*.c)

fuzz:             ## fuzz the ELF check and the reader of debug information
	@sh tools/setup.sh --need fuzz
	$(MAKE) fuzz-elf fuzz-dwarf

# No search, which would find something else each time: what is fuzzed still builds and takes the seeds.
check-fuzz:       ## the fuzz targets build, and their seeds pass
	@if echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' | \
	  clang -fsanitize=fuzzer,address,undefined -x c - -o /dev/null 2>/dev/null; \
	then $(MAKE) fuzz-elf fuzz-dwarf FUZZ_RUN=-runs=0; \
	else echo 'check-fuzz: left out, this clang has no libFuzzer (Debian: libclang-rt-14-dev)'; fi

SIGNATURES ?= 10000
fuzz-calls: all   ## random signatures called from Lua and from C: make fuzz-calls SIGNATURES=500 SEED=7
	HOTLUA_SIGNATURES=$(SIGNATURES) HOTLUA_SEED=$(or $(SEED),$$(date +%s)) $(BUILD)/hotlua test spec/signature_spec.lua

fuzz-elf: $(FUZZ)/elf_fuzz $(FUZZ)/seeds/made
	@mkdir -p $(FUZZ)/elf
	$< $(FUZZ_RUN) -artifact_prefix=$(FUZZ)/elf- $(FUZZ)/elf $(FUZZ)/seeds

fuzz-dwarf: $(FUZZ)/dwarf_fuzz $(FUZZ)/seeds/made
	@mkdir -p $(FUZZ)/dwarf
	$< $(FUZZ_RUN) -artifact_prefix=$(FUZZ)/dwarf- $(FUZZ)/dwarf $(FUZZ)/seeds

$(FUZZ)/elf_fuzz: fuzz/elf_fuzz.c $(FUZZ_ELF) $(wildcard src/*.h)
	@mkdir -p $(FUZZ)
	clang $(FUZZ_FLAGS) -o $@ fuzz/elf_fuzz.c $(FUZZ_ELF)

$(FUZZ)/dwarf_fuzz: fuzz/dwarf_fuzz.c $(FUZZ_DWARF) $(wildcard src/*.h)
	@mkdir -p $(FUZZ)
	clang $(FUZZ_FLAGS) -o $@ fuzz/dwarf_fuzz.c $(FUZZ_DWARF) -ldw -lelf

# The same plugin as several compilers, linkers and DWARF versions write it.
$(FUZZ)/seeds/made: fuzz/seed.c
	@mkdir -p $(FUZZ)/seeds
	gcc -shared -fPIC -g -O2 -o $(FUZZ)/seeds/gcc.so $<
	gcc -shared -fPIC -gdwarf-4 -Wl,--hash-style=both -o $(FUZZ)/seeds/gcc4.so $<
	gcc -shared -fPIC -g -gz -fuse-ld=gold -o $(FUZZ)/seeds/gold.so $<
	clang -shared -fPIC -g -fuse-ld=lld -Wl,-z,pack-relative-relocs -o $(FUZZ)/seeds/lld.so $<
	clang -shared -fPIC -gdwarf-4 -O2 -fuse-ld=mold -Wl,--hash-style=sysv -o $(FUZZ)/seeds/mold.so $<
	@touch $@
