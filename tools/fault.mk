# A second program, build/fault/hotlua-fault, whose own code calls the functions of tools/fault.c in place of these.
.PHONY: check-fault
FAULTS = malloc calloc aligned_alloc strdup realloc reallocarray vasprintf asprintf free open openat fcntl read pread \
         sendfile lseek ftruncate fstat stat lstat readlink readlinkat realpath mkdtemp flock opendir fdopendir \
         mmap mprotect socketpair send recv poll fork pipe2 eventfd inotify_init1 inotify_add_watch \
         ffi_closure_alloc pthread_create posix_spawn posix_spawnp dlopen dlerror
FAULT_STEP ?= 1

$(BUILD)/hotlua-fault: $(OBJECTS) $(BUILD)/liblua.a tools/fault.c tools/fault.mk
	ld -r $(FAULTS:%=--wrap=%) -o $(BUILD)/wrapped.o $(OBJECTS)
	$(CC) $(HOST_CFLAGS) -c -o $(BUILD)/fault.o tools/fault.c
	$(CC) $(CFLAGS) $(MODE) -rdynamic -pthread -o $@ $(BUILD)/wrapped.o $(BUILD)/fault.o $(LDFLAGS) $(HOST_LIBS)

check-fault: $(BUILD)/hotlua-fault   ## every allocation and system call of a reload fails in turn
	$(BUILD)/hotlua-fault tools/fault.lua $(FAULT_STEP)
