/* slot.c: the registry of plugins and slots. Changes happen under its lock; calls read the slots
 * without any, so every pointer is whole at every moment and nothing here is ever freed. */
#include "slot.h"

#include "arch.h"
#include "call_compile.h"
#include "call_record.h"
#include "fork_lock.h"
#include "memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Slots lie in blocks, side by side: arming thousands of them must not miss the cache each time. */
enum { BLOCK_SLOTS = 128, BUCKETS = 1024 };

struct export slot_absent = {.thunk = call_absent, .name = ""};

static pthread_mutex_t lock;
static pthread_once_t lock_once = PTHREAD_ONCE_INIT;
static struct plugin *plugins, **last_plugin = &plugins;     /* in the order of creation, closed ones too */
static struct plugin *buckets[BUCKETS];  /* the same by name */
static struct slot *block;
static size_t block_used = BLOCK_SLOTS;

static void make_lock(void)
{
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    fork_lock_register(&lock, PTHREAD_MUTEX_RECURSIVE);
}

void slot_lock(void)
{
    pthread_once(&lock_once, make_lock);
    pthread_mutex_lock(&lock);
}

void slot_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

/* Plugins ------------------------------------------------------------------------------------ */

static struct plugin **bucket_of(const char *name)
{
    unsigned hash = 5381;
    for (; *name; name++)
        hash = hash * 33 ^ (unsigned char)*name;
    return &buckets[hash % BUCKETS];
}

static struct plugin *find_any(const char *name)
{
    struct plugin *plugin = *bucket_of(name);
    while (plugin && strcmp(plugin->name, name) != 0)
        plugin = plugin->next_in_bucket;
    return plugin;
}

static struct plugin *add_plugin(const char *name)
{
    struct plugin *plugin = memory_take(sizeof *plugin);
    struct plugin **bucket = bucket_of(name);
    plugin->name = memory_copy_text(name);
    plugin->next_in_bucket = *bucket;
    *bucket = plugin;
    *last_plugin = plugin;
    last_plugin = &plugin->next;
    return plugin;
}

static void refuse_name(const struct plugin *plugin, struct error *error)
{
    error_set(error, "a plugin named '%s' is already loaded, from %s: close it, or give this one "
              "another name: hot.load(path, { name = \"...\" })", plugin->name, plugin->path);
}

struct plugin *plugin_create(const char *name, const char *path, void *owner, struct error *error)
{
    char *path_copy = memory_copy_text(path);
    slot_lock();
    struct plugin *plugin = find_any(name);
    if (plugin && !plugin->is_closed) {
        refuse_name(plugin, error);
        free(path_copy);
        plugin = NULL;
    } else {
        if (!plugin)
            plugin = add_plugin(name);
        free(plugin->path);
        plugin->path = path_copy;
        plugin->owner = owner;
        plugin->crash_policy = plugin->timeout_ms = 0;
        plugin->is_closed = false;
    }
    slot_unlock();
    return plugin;
}

/* The old texts stay: other threads may be reading them. */
static void move_to_name(struct plugin *plugin, const char *name, const char *path)
{
    struct plugin **place = bucket_of(plugin->name), **bucket = bucket_of(name);
    while (*place != plugin)
        place = &(*place)->next_in_bucket;
    *place = plugin->next_in_bucket;
    plugin->name = memory_copy_text(name);
    plugin->path = memory_copy_text(path);
    plugin->next_in_bucket = *bucket;        /* before a closed one of that name */
    *bucket = plugin;
}

bool plugin_rename(struct plugin *plugin, const char *name, const char *path, struct error *error)
{
    slot_lock();
    const struct plugin *other = find_any(name);
    bool is_free = !other || other->is_closed || other == plugin;
    if (is_free)
        move_to_name(plugin, name, path);
    else
        refuse_name(other, error);
    slot_unlock();
    return is_free;
}

struct plugin *plugin_find(const char *name)
{
    slot_lock();
    struct plugin *plugin = find_any(name);
    if (plugin && plugin->is_closed)
        plugin = NULL;
    slot_unlock();
    return plugin;
}

struct plugin *plugin_next(struct plugin *after)
{
    slot_lock();
    struct plugin *plugin = after ? after->next : plugins;
    while (plugin && plugin->is_closed)
        plugin = plugin->next;
    slot_unlock();
    return plugin;
}

/* Slots -------------------------------------------------------------------------------------- */

static struct slot *take_slot(void)
{
    if (block_used == BLOCK_SLOTS) {
        struct slot *fresh = memory_take_array(BLOCK_SLOTS, sizeof *fresh);
        block = fresh;
        block_used = 0;
    }
    return &block[block_used++];
}

/* Make a slot at this place of its plugin's list. */
static struct slot *insert_slot(struct plugin *plugin, struct slot **place, const char *name)
{
    struct slot *slot = take_slot();
    slot->name = memory_copy_text(name);
    slot->plugin = plugin;
    slot->bound = &slot_absent;
    slot->entry = slot->usual = call_absent;
    slot->stub = arch_make_stub(slot);
    slot->next = *place;
    __atomic_store_n(place, slot, __ATOMIC_RELEASE);
    return slot;
}

struct slot *slot_of(struct plugin *plugin, const char *name)
{
    int order = 1;
    slot_lock();
    struct slot **place = &plugin->slots;
    while (*place && (order = strcmp((*place)->name, name)) < 0)
        place = &(*place)->next;
    struct slot *slot = *place && order == 0 ? *place : insert_slot(plugin, place, name);
    slot_unlock();
    return slot;
}

static slot_entry *plain_entry_for(const struct slot *slot, const struct export *export)
{
    if (export->signature && slot->plugin->timeout_ms > 0)
        return call_timed;
    return export->thunk;
}

static slot_entry *entry_for(const struct slot *slot, const struct export *export)
{
    bool is_recorded = slot->plugin->recorder && export != &slot_absent;
    return is_recorded ? call_recorded : plain_entry_for(slot, export);
}

slot_entry *slot_plain_entry(const struct slot *slot)
{
    return plain_entry_for(slot, slot->bound);
}

/* Taking up and leaving ------------------------------------------------------------------------ */

/* Has it been called, so that the next call may go straight into the plugin? */
static bool is_awake(slot_entry *usual)
{
    return usual != call_lazy && usual != call_absent;
}

/* The owner's list of plugins that have slots awake: arming goes through that. */
static void list_awake(struct plugin *plugin, bool is_awake_now)
{
    struct slot_owner *owner = plugin->owner;
    struct plugin **place = owner ? &owner->awake : NULL;
    if (!place)
        return;
    if (is_awake_now) {
        plugin->next_awake = *place;
    } else {
        while (*place != plugin)
            place = &(*place)->next_awake;
        plugin = plugin->next_awake;
    }
    *place = plugin;
}

static void count_awake(struct plugin *plugin, int change)
{
    unsigned before = plugin->awake;
    plugin->awake += (unsigned)change;
    if ((before == 0) != (plugin->awake == 0))
        list_awake(plugin, before == 0);
}

void plugin_leave(struct plugin *plugin)
{
    slot_lock();
    for (struct slot *slot = plugin->slots; slot; slot = slot->next)
        __atomic_store_n(&slot->entry, slot->usual, __ATOMIC_RELEASE);
    if (plugin->awake > 0)
        list_awake(plugin, false);
    plugin->owner = NULL;
    plugin->left = plugin->live ? image_retain(plugin->live) : NULL;
    slot_unlock();
}

void plugin_take_up(struct plugin *plugin, void *owner)
{
    slot_lock();
    plugin->owner = owner;
    plugin->left = NULL;
    plugin->crash_policy = plugin->timeout_ms = 0;
    if (plugin->awake > 0)
        list_awake(plugin, true);
    slot_unlock();
}

/* Binding ------------------------------------------------------------------------------------ */

/* `bound` goes first: an old thunk that meets a new export sees that it is not meant and passes the
 * call on to export->thunk. */
static void bind(struct slot *slot, struct export *export)
{
    slot_entry *entry = entry_for(slot, export);
    struct plugin *plugin = slot->plugin;
    const struct slot_owner *owner = plugin->owner;
    plugin->name_stamp += slot->bound == &slot_absent && export != &slot_absent;
    __atomic_store_n(&slot->bound, export, __ATOMIC_RELEASE);
    count_awake(plugin, is_awake(entry) - is_awake(slot->usual));
    __atomic_store_n(&slot->usual, entry, __ATOMIC_RELEASE);
    bool is_armed = owner && owner->is_armed && is_awake(entry);
    __atomic_store_n(&slot->entry, is_armed ? owner->safe_point : entry, __ATOMIC_RELEASE);
}

static void unbind(struct slot *slot, const struct image *image)
{
    if (slot->bound != &slot_absent && image)
        slot->gone_since = image->generation;
    bind(slot, &slot_absent);
}

/* Both lists are sorted by name: walk them side by side. */
static void bind_all(struct plugin *plugin, struct image *image)
{
    struct slot **place = &plugin->slots;
    size_t count = image ? image->export_count : 0;
    for (size_t i = 0; i < count; i++) {
        struct export *export = &image->exports[i];
        int order = 1;
        for (; *place && (order = strcmp((*place)->name, export->name)) < 0; place = &(*place)->next)
            unbind(*place, image);
        struct slot *slot = *place && order == 0 ? *place : insert_slot(plugin, place, export->name);
        slot->gone_since = 0;
        bind(slot, export);
        place = &slot->next;
    }
    for (; *place; place = &(*place)->next)
        unbind(*place, image);
}

/* The lock is given up now and then: a commit may be waiting for it. Slots stay where they are. */
static bool find_slots(struct plugin *plugin, const struct image *image, struct slot **slots)
{
    struct slot *slot = plugin->slots;
    for (size_t i = 0; i < image->export_count; i++, slot = slot->next) {
        while (slot && slot->bound == &slot_absent && strcmp(slot->name, image->exports[i].name) < 0)
            slot = slot->next;
        if (!slot || strcmp(slot->name, image->exports[i].name) != 0)
            return false;
        slots[i] = slot;
        if (i % 256 == 255) {
            slot_unlock();
            slot_lock();
        }
    }
    while (slot && slot->bound == &slot_absent)
        slot = slot->next;
    return !slot;
}

void slot_prepare(struct plugin *plugin, struct image *image)
{
    struct slot **slots = image->slots ? NULL : calloc(image->export_count + 1, sizeof *slots);
    if (!slots)
        return;
    slot_lock();
    unsigned stamp = plugin->bind_stamp;
    bool is_found = find_slots(plugin, image, slots);
    slot_unlock();
    if (!is_found) {
        free(slots);
        return;
    }
    image->slots = slots;
    image->slots_stamp = stamp;
}

/* Where a slot's calls go on as they do, as with most of thousands that nobody has called yet, only the
 * export is another. */
static void bind_prepared(struct plugin *plugin, struct image *image)
{
    bool is_direct = !plugin->recorder && plugin->timeout_ms == 0;
    for (size_t i = 0; i < image->export_count; i++) {
        struct slot *slot = image->slots[i];
        struct export *export = &image->exports[i];
        if (is_direct && slot->usual == export->thunk) {
            __atomic_store_n(&slot->bound, export, __ATOMIC_RELEASE);
            continue;
        }
        slot->gone_since = 0;
        bind(slot, export);
    }
}

void slot_bind(struct plugin *plugin, struct image *image)
{
    slot_lock();
    struct image *old = plugin->live;
    if (image) {
        image->plugin = plugin;
        __atomic_store_n(&image->state, IMAGE_LIVE, __ATOMIC_RELEASE);
        if (image->generation > plugin->generation)
            plugin->generation = image->generation;
    }
    if (image && image->slots && image->slots_stamp == plugin->bind_stamp)
        bind_prepared(plugin, image);
    else
        bind_all(plugin, image);
    plugin->bind_stamp++;
    if (image) {
        free(image->slots);
        image->slots = NULL;
    }
    __atomic_store_n(&plugin->live, image, __ATOMIC_RELEASE);
    if (old && old != image && old->state == IMAGE_LIVE)
        __atomic_store_n(&old->state, IMAGE_RETIRING, __ATOMIC_RELEASE);
    slot_unlock();
}

void slot_stop(struct plugin *plugin, struct export *stopper)
{
    slot_lock();
    for (struct slot *slot = plugin->slots; slot; slot = slot->next)
        if (slot->bound != &slot_absent)
            __atomic_store_n(&slot->bound, stopper, __ATOMIC_RELEASE);
    slot_unlock();
}

void slot_restart(struct plugin *plugin, const struct export *stopper)
{
    slot_lock();
    for (struct slot *slot = plugin->slots; slot; slot = slot->next) {
        struct export *export = plugin->live ? image_find_export(plugin->live, slot->name) : NULL;
        if (slot->bound == stopper)
            bind(slot, export ? export : &slot_absent);
    }
    slot_unlock();
}

static void set_entries(const struct slot_owner *owner, slot_entry *entry)
{
    for (struct plugin *plugin = owner->awake; plugin; plugin = plugin->next_awake)
        for (struct slot *slot = plugin->slots; slot; slot = slot->next)
            if (is_awake(slot->usual))
                __atomic_store_n(&slot->entry, entry ? entry : slot->usual, __ATOMIC_RELEASE);
}

void slot_arm(struct slot_owner *owner)
{
    slot_lock();
    if (!owner->is_armed)
        set_entries(owner, owner->safe_point);
    __atomic_store_n(&owner->is_armed, true, __ATOMIC_RELEASE);
    slot_unlock();
}

void slot_disarm(struct slot_owner *owner)
{
    if (!__atomic_load_n(&owner->is_armed, __ATOMIC_ACQUIRE))
        return;
    slot_lock();
    owner->is_armed = false;
    set_entries(owner, NULL);
    slot_unlock();
}

void slot_refresh(struct slot *slot, struct export *export)
{
    slot_lock();
    if (slot->bound == export)
        bind(slot, export);
    slot_unlock();
}
