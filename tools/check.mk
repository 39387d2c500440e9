# `make check`: everything that the specs alone do not see. Each target may be run by itself.
.PHONY: check check-warnings check-lint check-calls check-signatures check-storm check-state check-fault check-soak \
        check-asan check-tsan check-valgrind

check:            ## warnings, lint, sanitizers, valgrind
	@sh tools/setup.sh --need check
	$(MAKE) check-warnings check-lint check-calls check-signatures check-storm check-state check-fault check-soak \
	  check-fuzz check-asan check-tsan check-valgrind

check-warnings:   ## gcc and clang, warnings are errors
	$(MAKE) -j$(shell nproc) BUILD=$(BUILD)/gcc CC=gcc CFLAGS="-O2 -g -Werror" all
	$(MAKE) -j$(shell nproc) BUILD=$(BUILD)/clang CC=clang CFLAGS="-O1 -g -Werror" all

check-lint:       ## cppcheck and luacheck
	cppcheck --quiet --enable=portability,performance --inline-suppr --error-exitcode=1 \
	  --suppress=missingIncludeSystem --suppress=preprocessorErrorDirective --suppress=shiftTooManyBitsSigned \
	  -D__x86_64__ -D__linux__ '-DElfW(name)=Elf64_##name' -Isrc -Iinclude src
	luacheck --quiet lua spec examples bench tools

# Not those that run programs of their own, which would not be the sanitized one's concern, nor rehearsals: ASan's
# allocator stays locked for ever in a copy that was forked while another thread allocated.
SANITIZED = $(filter-out $(patsubst %,spec/%_spec.lua,leak program examples gallery new isolate test watch unload bad_files \
              probe rehearse soak torture fault worker rerun foreign), $(wildcard spec/*_spec.lua))
# What every call runs through: nothing in it may lock the bus or ask the kernel.
check-calls: all  ## no lock and no atomic read-modify-write in a call (x86-64)
	@if objdump -d $(BUILD)/call_thunks.o $(BUILD)/call_general.o | grep -E '\block\b|xchg .*\(|[lms]fence|syscall'; \
	then echo 'a call locks' >&2; exit 1; fi
	@if nm -u $(BUILD)/call_thunks.o $(BUILD)/call_general.o | grep -E 'mutex|rwlock|syscall|slot_lock'; \
	then echo 'a call locks' >&2; exit 1; fi

check-storm: all  ## thousands of reloads while threads call
	HOTLUA_STORM=3000 $(BUILD)/hotlua test spec/worker_spec.lua spec/symbol_spec.lua

check-signatures: all  ## calls of random signatures against C: other ones each time
	$(MAKE) fuzz-calls SIGNATURES=1000

PAIRS ?= 6000
check-state: all  ## the carry against its model: random pairs of types, other ones each time
	XDG_CACHE_HOME=$(abspath $(BUILD))/pairs HOTLUA_PAIRS=$(PAIRS) HOTLUA_SEED=$(or $(SEED),$$(date +%s)) \
	  HOTLUA_GRAPHS=20 $(BUILD)/hotlua test spec/property_spec.lua spec/heap_graph_spec.lua
	rm -rf $(BUILD)/pairs

ASAN_QUIET = detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_abort=0
check-asan:       ## the specs of reloads under ASan and UBSan
	$(MAKE) -j$(shell nproc) BUILD=$(BUILD)/asan CFLAGS="-O1 -g" \
	  MODE="-fsanitize=address,undefined -fno-sanitize-recover=undefined" all $(BUILD)/asan/hotlua-fault
	ASAN_OPTIONS=$(ASAN_QUIET) $(BUILD)/asan/hotlua test $(SANITIZED)
	ASAN_OPTIONS=$(ASAN_QUIET) $(BUILD)/asan/hotlua-fault tools/fault.lua 7

check-tsan:       ## the thread specs under TSan
	$(MAKE) -j$(shell nproc) BUILD=$(BUILD)/tsan CFLAGS="-O1 -g" MODE="-fsanitize=thread" all
	TSAN_OPTIONS="halt_on_error=1 suppressions=tools/tsan.supp" HOTLUA_STORM=200 $(BUILD)/tsan/hotlua test \
	  $(patsubst %,spec/%_spec.lua,policy worker symbol group module folder callback guard)

VALGRIND = valgrind --quiet --error-exitcode=9 --errors-for-leak-kinds=definite --leak-check=full \
           --show-leak-kinds=definite --suppressions=tools/valgrind.supp
check-valgrind: all $(BUILD)/hotlua-fault  ## short runs under valgrind
	$(VALGRIND) $(BUILD)/hotlua tools/short.lua
	$(VALGRIND) $(BUILD)/hotlua-fault tools/fault.lua 40
