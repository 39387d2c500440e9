/* fork_lock.h: mutexes that a forked copy of the process finds free. The threads that may have held them at
 * that instant are not in the copy. */
#ifndef HOTLUA_FORK_LOCK_H
#define HOTLUA_FORK_LOCK_H

#include <pthread.h>

/* A static mutex of that name. */
#define FORK_LOCK(name) \
    static pthread_mutex_t name = PTHREAD_MUTEX_INITIALIZER; \
    __attribute__((constructor)) static void register_##name(void) \
    { \
        fork_lock_register(&name, PTHREAD_MUTEX_NORMAL); \
    }

/* Have the mutex, which lives for ever, made anew in copies, of that type. Before there are threads. */
void fork_lock_register(pthread_mutex_t *lock, int type);

/* The same of one that lives as long as the object it is in, where `entry` is, too. */
struct fork_lock {
    pthread_mutex_t *mutex;
    int type;
    struct fork_lock *next, **at;
};
void fork_lock_add(struct fork_lock *entry, pthread_mutex_t *mutex, int type);
void fork_lock_remove(struct fork_lock *entry);

/* In the copy, before anything is locked. */
void fork_lock_reset(void);

#endif
