/* guard_exit.c: stands before exit, _exit, _Exit, quick_exit and pthread_exit for every library of the process.
 * Who calls one of them in a call of a plugin from Lua ends the call, as by a crash, not the program. */
#include "guard.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define INTERPOSED __attribute__((visibility("default"), noinline, noreturn))

/* The C library's own function of that name. */
__attribute__((noreturn)) static void call_original(const char *name, int status)
{
    void (*function)(int) = (void (*)(int))dlsym(RTLD_NEXT, name);
    if (function)
        function(status);
    abort();
}

INTERPOSED void exit(int status)
{
    guard_end_call("exit", status);
    call_original("exit", status);
}

INTERPOSED void _exit(int status)
{
    guard_end_call("_exit", status);
    call_original("_exit", status);
}

INTERPOSED void _Exit(int status)
{
    guard_end_call("_Exit", status);
    call_original("_Exit", status);
}

INTERPOSED void quick_exit(int status)
{
    guard_end_call("quick_exit", status);
    call_original("quick_exit", status);
}

INTERPOSED void pthread_exit(void *result)
{
    guard_end_call("pthread_exit", 0);
    void (*function)(void *) = (void (*)(void *))dlsym(RTLD_NEXT, "pthread_exit");
    if (function)
        function(result);
    abort();
}
