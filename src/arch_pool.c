/* arch_pool.c: memory for stubs. A page of identical stubs is written, made executable and never
 * written again; each reads its own word in the data page behind it. Nothing is ever both writable
 * and executable, and nothing is freed. */
#include "arch.h"

#include "fork_lock.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef ARCH_IS_KNOWN

FORK_LOCK(lock)

static struct pool {
    unsigned char *code;
    void **data;
    size_t left;
    bool is_refused;         /* the system allows no new executable memory: do not ask again */
} pools[ARCH_STUB_KINDS];

/* The pages of slots' stubs, newest first. */
static struct page {
    unsigned char *code;
    struct page *next;
} *slot_pages;

static void remember_page(unsigned char *code)
{
    struct page *page = malloc(sizeof *page);
    if (!page)
        return;
    *page = (struct page){code, slot_pages};
    slot_pages = page;
}

static void refill(struct pool *pool, enum arch_stub kind)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), count = page / ARCH_STUB_SIZE;
    unsigned char *code = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pool->is_refused = true;
    if (code == MAP_FAILED)
        return;
    void **data = (void **)(code + page);
    for (size_t i = 0; i < count; i++)
        arch_write_stub(code + i * ARCH_STUB_SIZE, kind, &data[i]);
    if (mprotect(code, page, PROT_READ | PROT_EXEC) != 0) {
        munmap(code, 2 * page);
        return;
    }
    __builtin___clear_cache((char *)code, (char *)code + page);
    *pool = (struct pool){.code = code, .data = data, .left = count};
    if (kind == ARCH_STUB_SLOT)
        remember_page(code);
}

static void *make(enum arch_stub kind, void *word)
{
    struct pool *pool = &pools[kind];
    void *stub = NULL;
    pthread_mutex_lock(&lock);
    if (pool->left == 0 && !pool->is_refused)
        refill(pool, kind);
    if (pool->left > 0) {
        *pool->data++ = word;
        stub = pool->code;
        pool->code += ARCH_STUB_SIZE;
        pool->left--;
    }
    pthread_mutex_unlock(&lock);
    return stub;
}

void *arch_make_stub(struct slot *slot)
{
    return make(ARCH_STUB_SLOT, slot);
}

struct slot *arch_slot_of_stub(const void *stub)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    struct slot *slot = NULL;
    pthread_mutex_lock(&lock);
    for (const struct page *page = slot_pages; page && !slot; page = page->next) {
        size_t offset = (uintptr_t)stub - (uintptr_t)page->code;
        if (offset < size)
            slot = ((void **)(page->code + size))[offset / ARCH_STUB_SIZE];
    }
    pthread_mutex_unlock(&lock);
    return slot;
}

void *arch_make_jump(void *volatile *target)
{
    return make(ARCH_STUB_JUMP, (void *)target);
}

#endif
