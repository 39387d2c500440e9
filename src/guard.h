/* guard.h: turns a crash inside a plugin call into a return to the frame that made the call. A
 * crash anywhere else goes to whatever handler was there before, or kills as it always would. */
#ifndef HOTLUA_GUARD_H
#define HOTLUA_GUARD_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

struct export;
struct frame;
struct image;
struct thread;

enum { GUARD_ROLLBACK, GUARD_ERROR, GUARD_OFF };     /* plugin->crash_policy */

enum { GUARD_TRACE = 32 };

struct crash {               /* of the calling thread, filled by the handler */
    int signal;              /* SIGSEGV ... ; SIGALRM stands for a call that ran out of time */
    const char *exit;        /* "exit" ...: what it called to end the process, NULL: nothing */
    int exit_status;
    bool is_overflow;        /* the stack was used up */
    bool has_address;        /* the next is one */
    void *address;           /* that could not be reached */
    void *pc;                /* where it happened */
    void *trace[GUARD_TRACE];            /* return addresses above it, innermost first */
    size_t trace_count;
    struct image *image;     /* whose call it was */
    const char *function;    /* the export that was called */
};

/* Install the handlers, once for the process; those that are there are chained. After a crash the
 * thread goes on in `landing(frame)`, on its own stack, at the place of the thunk; it must not
 * return. */
void guard_install(void (*landing)(void *frame));
/* In a forked copy that goes on as the program (a rehearsal): its crashes are caught as here. Those of any
 * other child of the process, which a plugin may fork, kill that child. */
void guard_adopt_process(void);
/* Give the calling thread its alternate signal stack; thread_register calls it. Taken back at the
 * thread's end. */
void guard_thread(struct thread *thread);
void guard_release_thread(struct thread *thread);

/* Run function(argument), code of the plugin's image that `place` belongs to, at most so long. False when it
 * crashed or did not end (guard_crash says how), or when calls are nested too deeply. Any thread. */
bool guard_run(struct export *place, void (*function)(void *), void *argument, unsigned limit_ms);

/* The crash that the last jump of this thread came from. Valid until the next one. */
const struct crash *guard_crash(void);
/* "SIGSEGV", "SIGABRT" ... ; "timeout" for a time limit. */
const char *guard_signal_name(const struct crash *crash);

/* Somebody calls the C library's `function` ("exit", "_exit" ...). Does not return when that happens in a call
 * of a plugin that a crash would not get through either: the call ends as by a crash. Otherwise nothing happens. */
void guard_end_call(const char *function, int status);

/* guard_timer.c: the call of `frame` may take that long. A call inside one that has a limit has none
 * of its own. End it after the call, however that ended. */
void guard_begin_timed(struct thread *thread, struct frame *frame, unsigned limit_ms);
void guard_end_timed(struct thread *thread, struct frame *frame);

/* For guard.c: where a crash in that frame goes on if guard_run made the frame, else NULL. */
void (*guard_run_landing(const struct thread *thread, const struct frame *frame))(void *frame);
/* For guard_run.c: the signals that must not be blocked under the guard. */
void guard_add_signals(sigset_t *set);
int guard_timer_signal(void);

/* For guard_timer.c: the handler of its signal, and its way out of the plugin. Where the plugin's code does not
 * run at this moment a trap is set, and the call ends as soon as it does. */
void guard_stop_call(void *context);
/* Has the calling thread's limited call run out of time? */
bool guard_is_late(const struct thread *thread);

/* guard_trap.c: have whoever enters the image's code next fault. */
void guard_trap_set(struct image *image);
/* In the handler of a fault at `address`: was it due to a trap? Then that is gone, and the code may go on. */
bool guard_trap_release(const void *address, const void *pc);
/* The image is about to be unmapped. */
void guard_trap_forget(const struct image *image);

#endif
