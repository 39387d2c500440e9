/* slot.h: plugins and the stable places through which every call of their exports goes. A slot is
 * never freed: a function that Lua holds stays valid for ever. Process-wide, under one lock; the
 * call path reads it without any.
 *
 * The life of a call: Lua calls the slot's stub (machine code, arch.h); the stub loads slot->entry
 * and jumps there with the slot as second argument. `entry` is normally the thunk of the live
 * export's signature; it is another function while the export is gone, its type not read yet, or a
 * change waits for a safe point. The thunk pins slot->bound in the thread's frame, checks that it
 * is still bound and meant for this thunk, converts, and calls bound->target. */
#ifndef HOTLUA_SLOT_H
#define HOTLUA_SLOT_H

#include "error.h"
#include "image.h"

struct lua_State;
struct slot;
struct signature;            /* call.h: what a thunk needs of a function type */

/* What a stub jumps to: an ordinary lua_CFunction with the slot as a second argument. */
typedef int slot_entry(struct lua_State *L, struct slot *slot);

struct export {              /* one function of one image */
    slot_entry *thunk;       /* chosen by signature; call_lazy until the type is read */
    void *target;            /* its address */
    const struct signature *signature;   /* NULL until the type is read */
    const struct type *type; /* TYPE_FUNCTION, NULL until read or when unknown */
    const char *name;
    struct image *image;
    const char *refusal;     /* why it cannot be called, NULL if it can */
};

struct slot {
    slot_entry *volatile entry;          /* offset 0: the stub loads it */
    struct export *volatile bound;       /* never NULL: &slot_absent when gone */
    slot_entry *volatile usual;          /* entry while nothing waits; safe to call from anywhere */
    void *volatile native;   /* what the next jumps to (native_symbol.h) */
    void *jump;              /* the address that C was given, NULL: nobody asked */
    unsigned native_stack;   /* bytes of arguments that such a call may have on the stack */
    bool is_missed;          /* that C called it in vain has been reported */
    const char *name;
    struct plugin *plugin;
    void *stub;              /* a lua_CFunction, or NULL where the machine has no stubs */
    unsigned gone_since;     /* generation in which the export went; 0 while it is there */
    struct slot *next;       /* in the plugin's list, sorted by name */
};

struct slot_owner {
    slot_entry *safe_point;  /* where calls go while something waits for the owner's thread */
    bool is_armed;
    struct plugin *awake;    /* the plugins that have slots awake */
};

struct plugin {
    char *name;
    char *path;              /* absolute, as the user named it: links are followed at each load */
    struct image *live;      /* NULL while closed */
    unsigned generation;     /* of the newest image that became live */
    struct slot *slots;
    unsigned name_stamp;     /* another whenever a slot without an export has got one */
    unsigned bind_stamp;     /* another whenever another image is bound */
    void *owner;             /* struct host * of the Lua state that loaded it, which begins with a slot_owner;
                                NULL: nobody's */
    unsigned crash_policy;   /* GUARD_ROLLBACK, GUARD_ERROR, GUARD_OFF: guard.h */
    unsigned timeout_ms;     /* 0: none */
    struct heap *heap;       /* its typed objects, NULL: none yet */
    struct recorder *recorder;           /* of its calls (call_record.h), NULL: they are not recorded */
    bool is_closed;
    struct image *left;      /* retained: its live image while no Lua state has it (plugin_leave) */
    volatile bool is_shared; /* other Lua states than the owner's have it */
    volatile bool is_held;   /* hold.h; the holder's thread: */
    unsigned long holder;
    unsigned awake;          /* slots that have been called: their calls go straight into the plugin */
    struct plugin *next_awake;           /* of the owner's */
    struct plugin *next, *next_in_bucket;
};

extern struct export slot_absent;        /* thunk: call_absent */

/* For threads other than the one that binds. */
static inline struct image *plugin_live(const struct plugin *plugin)
{
    return __atomic_load_n(&plugin->live, __ATOMIC_ACQUIRE);
}

static inline slot_entry *slot_usual(const struct slot *slot)
{
    return __atomic_load_n(&slot->usual, __ATOMIC_ACQUIRE);
}

static inline struct export *slot_bound(const struct slot *slot)
{
    return __atomic_load_n(&slot->bound, __ATOMIC_ACQUIRE);
}

/* The registry's lock; the loader's own lock is never taken inside it. Recursive. */
void slot_lock(void);
void slot_unlock(void);

/* The plugin of that name, made if there is none; a closed one of the same name is taken up again
 * with its slots. NULL with error if one of that name is open. */
struct plugin *plugin_create(const char *name, const char *path, void *owner, struct error *error);
/* Its owner goes, the plugin stays as it is; and another owner takes it up, with the reference that `left`
 * held. */
void plugin_leave(struct plugin *plugin);
void plugin_take_up(struct plugin *plugin, void *owner);
/* Another name and path for an open plugin. False with error if another one of that name is open. */
bool plugin_rename(struct plugin *plugin, const char *name, const char *path, struct error *error);
struct plugin *plugin_find(const char *name);             /* open ones only */
struct plugin *plugin_next(struct plugin *after);         /* NULL starts; open ones only */

/* The slot of that name, made if there is none (bound to slot_absent). */
struct slot *slot_of(struct plugin *plugin, const char *name);

/* Off the loop's thread: look up the slots of an image that may be bound next, if it exports what the live
 * one does, so that the commit has less to do. Without memory, or when another image is bound before, it does
 * all. */
void slot_prepare(struct plugin *plugin, struct image *image);

/* Bind every slot of the plugin to `image` (NULL: to nothing) and make slots for exports that have
 * none. This is the commit: the caller sees old or new, per call. Sets generation, live, states. */
void slot_bind(struct plugin *plugin, struct image *image);

/* Bind every slot that is bound to `stopper` instead (hold.h); slot_restart binds those that still are to
 * the live image again. */
void slot_stop(struct plugin *plugin, struct export *stopper);
void slot_restart(struct plugin *plugin, const struct export *stopper);

/* While armed, each call of a slot of the owner's plugins goes to its safe_point first; that continues with
 * slot->usual. A call that has its type read (call_lazy) goes on without, once. */
void slot_arm(struct slot_owner *owner);
void slot_disarm(struct slot_owner *owner);

/* Where a call of what is bound goes when it is neither recorded nor held. */
slot_entry *slot_plain_entry(const struct slot *slot);

/* The export's thunk has changed (its type was read): have the slot's calls go there directly. */
void slot_refresh(struct slot *slot, struct export *export);

#endif
