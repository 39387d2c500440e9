/* guard_exit.c: stands before exit, _exit, _Exit and quick_exit for every library of the process. A plugin
 * that calls one of them in a call from Lua ends the call, as by a crash, not the program. */
#include "guard.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#define INTERPOSED __attribute__((visibility("default"), noinline, noreturn))
#define CALLER __builtin_return_address(0)

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
    guard_end_call("exit", status, CALLER);
    call_original("exit", status);
}

INTERPOSED void _exit(int status)
{
    guard_end_call("_exit", status, CALLER);
    call_original("_exit", status);
}

INTERPOSED void _Exit(int status)
{
    guard_end_call("_Exit", status, CALLER);
    call_original("_Exit", status);
}

INTERPOSED void quick_exit(int status)
{
    guard_end_call("quick_exit", status, CALLER);
    call_original("quick_exit", status);
}
