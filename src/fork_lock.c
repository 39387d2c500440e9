/* fork_lock.c: the list of those mutexes. */
#include "fork_lock.h"

#include <stdlib.h>

enum { MOST_LOCKS = 32 };

static struct { pthread_mutex_t *lock; int type; } locks[MOST_LOCKS];
static unsigned count;

void fork_lock_register(pthread_mutex_t *lock, int type)
{
    if (count == MOST_LOCKS)
        abort();
    locks[count].lock = lock;
    locks[count++].type = type;
}

void fork_lock_reset(void)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    for (unsigned i = 0; i < count; i++) {
        pthread_mutexattr_settype(&attributes, locks[i].type);
        pthread_mutex_init(locks[i].lock, &attributes);
    }
    pthread_mutexattr_destroy(&attributes);
}
