/* fork_lock.c: the lists of those mutexes. A copy reads them as they were at any instant of another thread's
 * change: each is one store. */
#include "fork_lock.h"

#include <stdlib.h>

enum { MOST_LOCKS = 32 };

static struct { pthread_mutex_t *lock; int type; } locks[MOST_LOCKS];
static unsigned count;

FORK_LOCK(list_lock)
static struct fork_lock *entries;

void fork_lock_register(pthread_mutex_t *lock, int type)
{
    if (count == MOST_LOCKS)
        abort();
    locks[count].lock = lock;
    locks[count++].type = type;
}

void fork_lock_add(struct fork_lock *entry, pthread_mutex_t *mutex, int type)
{
    pthread_mutex_lock(&list_lock);
    *entry = (struct fork_lock){mutex, type, entries, &entries};
    if (entries)
        entries->at = &entry->next;
    __atomic_store_n(&entries, entry, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&list_lock);
}

void fork_lock_remove(struct fork_lock *entry)
{
    pthread_mutex_lock(&list_lock);
    __atomic_store_n(entry->at, entry->next, __ATOMIC_RELEASE);
    if (entry->next)
        entry->next->at = entry->at;
    pthread_mutex_unlock(&list_lock);
}

void fork_lock_reset(void)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    for (unsigned i = 0; i < count; i++) {
        pthread_mutexattr_settype(&attributes, locks[i].type);
        pthread_mutex_init(locks[i].lock, &attributes);
    }
    for (struct fork_lock *entry = entries; entry; entry = entry->next) {
        pthread_mutexattr_settype(&attributes, entry->type);
        pthread_mutex_init(entry->mutex, &attributes);
    }
    pthread_mutexattr_destroy(&attributes);
}
