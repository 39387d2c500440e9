/* image.h: one loaded copy of a plugin's file: its private copy, its symbols, its types, its
 * memory. Opening and closing run on the loader thread; reading is safe from any thread. */
#ifndef HOTLUA_IMAGE_H
#define HOTLUA_IMAGE_H

#include "elf_check.h"
#include "error.h"
#include "types.h"

struct cdecl_lookup;
struct debuginfo;
struct declarations;
struct export;
struct heap;
struct plugin;
struct slot;
struct pristine;
struct stage;

enum image_state { IMAGE_PREPARED, IMAGE_LIVE, IMAGE_KEPT, IMAGE_RETIRING, IMAGE_HELD, IMAGE_GONE };

struct variable {            /* one with static storage in an image */
    const char *name;        /* "limit", "file_static", "function.static_inside" */
    const struct type *type; /* NULL: no debug info and no cdef */
    void *address;           /* in memory, NULL for a thread-local */
    uint64_t thread_offset;  /* of a thread-local: in the image's initial values of those */
    uint64_t size;           /* bytes */
    bool is_exported;        /* an ELF dynamic symbol */
    bool is_writable;
    bool is_thread_local;
    const char *file;        /* base name of its source, NULL if unknown */
};

struct image {
    struct plugin *plugin;       /* whose image it is; NULL until committed */
    struct plugin *candidate_of; /* whose it is about to be: its limits hold already (image_owner) */
    unsigned generation;     /* 0 until it is introduced to the user */
    volatile enum image_state state;
    volatile bool is_mapped; /* false: views into it must raise */
    char why[256];           /* held: what keeps it */
    char *source;            /* the user's path of the file */
    struct stage *stage;
    struct elf_facts facts;
    void *handle;            /* of dlopen */
    uintptr_t base;          /* first byte of the mapping */
    size_t size;             /* bytes of address space */
    uintptr_t bias;          /* to add to a file address */
    struct export *exports;  /* one per exported function, in the order of facts.symbols */
    size_t export_count;
    struct slot **slots;     /* slot_prepare's: one for each export; NULL: not looked up, or used up */
    unsigned slots_stamp;    /* the plugin's bind_stamp then */
    struct types *types;     /* NULL until image_read_types */
    struct debuginfo *debug; /* NULL: none; then no_debug says why */
    struct declarations *declarations;   /* from cdef, NULL: none */
    char no_debug[256];
    struct pristine *pristine;           /* initial values of its writable data, see pristine.h */
    struct variables *variables;         /* NULL until somebody asked for all of them */
    struct heap *heap;       /* of its typed objects, the plugin's once it is committed: heap.h */
    unsigned references;     /* atomic */
    struct image **links;    /* retained: the plugins' images that it is linked with (image_link.h) */
    size_t link_count;
    unsigned users;          /* atomic: mapped images that are linked with this one */
    unsigned readers;        /* who keep it mapped: image_begin_reading */
    uint64_t noted_before;   /* what users_noted.h knew before it was opened is not about it */
    bool has_moved_on;       /* another image has its state, or was to have it: image_end.h */
    struct export *ending;   /* image_end.c's own */
};

struct loader_task;

struct image_options {
    const char *cdef;        /* C declarations, or NULL */
    struct loader_task *reading;         /* reads its types meanwhile (image_read_types), or NULL */
};

/* Check the staged copy and read its symbols; takes over `stage` in any case. Nothing is mapped for
 * execution yet. One reference. */
struct image *image_verify(struct stage *stage, const char *source, struct error *error);
/* The same of a file that is only looked at: what the loader would accept but a reload cannot live
 * with is not refused; image_is_reloadable says whether there is such a thing, and what. */
struct image *image_examine(struct stage *stage, const char *source, struct error *error);
bool image_is_reloadable(const struct image *image, struct error *error);

/* dlopen the verified image (RTLD_NOW | RTLD_LOCAL) and prove that what came is new and whole;
 * open its debug info, take its pristine values. Constructors run here. */
bool image_open(struct image *image, const struct image_options *options, struct error *error);

/* Open the debug info and read the cdef, once; image_open does it too. For comparing images that
 * are not loaded. */
bool image_read_types(struct image *image, const struct image_options *options, struct error *error);

/* The running program itself, from a copy of its own file, which is taken over: nothing is loaded, its
 * exports are those in memory. It is never unloaded. One reference. */
struct image *image_of_program(struct stage *stage, const char *source, struct error *error);

/* dlclose (destructors run here), then look whether it left the address space. State becomes
 * IMAGE_GONE, or IMAGE_HELD with `why`. Where somebody may still use it (users.h) it stays mapped and
 * IMAGE_HELD with `why`, and may be closed again later. */
void image_close(struct image *image);

/* Its memory is being read on this thread: until image_end_reading it stays mapped, and image_close on
 * another thread waits. False: it is not mapped. */
bool image_begin_reading(struct image *image);
void image_end_reading(struct image *image);

/* Its state, and why it is held: both may be set and asked for on any thread. `why` NULL sets none. */
void image_set_state(struct image *image, enum image_state state, const char *why);
enum image_state image_state_of(const struct image *image);
void image_copy_why(const struct image *image, char *why, size_t size);

/* Whose calls into it count as: the plugin that it belongs to or is about to; NULL before it is introduced.
 * */
static inline struct plugin *image_owner(const struct image *image)
{
    return image->plugin ? image->plugin : image->candidate_of;
}

struct image *image_retain(struct image *image);
/* The last one frees it, after closing it if it is still prepared. Otherwise a mapped image has to be
 * closed before; one that is not (it is held) is never freed. */
void image_release(struct image *image);

/* The exported function of that name, NULL if none. */
struct export *image_find_export(const struct image *image, const char *name);
/* Give `export` its type from cdef or debug info, once. False with the reason (kept in the export). */
bool image_resolve_export(struct export *export, struct error *error);

/* A variable by name. False with error if there is none. */
bool image_find_variable(struct image *image, const char *name, struct variable *variable,
                         struct error *error);
/* All variables, exported and static, sorted by name. They are the image's. */
const struct variable *image_variables(struct image *image, size_t *count);

/* Types and enumerators by name, from cdef first, then the debug info. */
const struct type *image_type(struct image *image, const char *expression, struct error *error);
/* The named types alone ("struct point", "size_t"). */
const struct type *image_named_type(struct image *image, const char *name);
bool image_enumerator(struct image *image, const char *name, int64_t *value);
/* Both, for C declarations; the context is the image. */
extern const struct cdecl_lookup image_names;

/* Is the address inside this image's mapping? */
static inline bool image_contains(const struct image *image, const void *address)
{
    return (uintptr_t)address - image->base < image->size;
}

/* The image whose constructors run on this thread, NULL if there is none. */
struct image *image_being_opened(void);
/* The mapped images, each retained, as a malloc'ed array that ends with NULL; NULL when memory is out. */
struct image **image_list_mapped(void);

/* The mapped image of any plugin that the address lies in, retained; NULL if none. */
struct image *image_of_address(const void *address);
/* The unmapped image that was at the address, where no memory is since, retained; NULL if none is
 * remembered. Only what a message says of an image is known of it. */
struct image *image_gone_from(const void *address);
/* Another number whenever an image was mapped or unmapped: what an address lies in may have changed. */
extern unsigned image_mapped_stamp;
static inline unsigned image_stamp(void)
{
    return __atomic_load_n(&image_mapped_stamp, __ATOMIC_ACQUIRE);
}

#endif
